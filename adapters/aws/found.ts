// Reads the present state of a function from the control plane.

import type { FunctionConfiguration } from '@aws-sdk/client-lambda';
import { ALIAS } from './call.ts';
import { type LambdaApi, orMissing } from './sdk.ts';

/** A member is undefined when Lambda has no such thing. */
export interface Found {
  /** `$LATEST`, the unpublished configuration. */
  readonly latest?: FunctionConfiguration;
  /** The version behind the alias that calls go to. */
  readonly live?: FunctionConfiguration;
  readonly tags: Readonly<Record<string, string>>;
  /** Reserved concurrency. */
  readonly reserved?: number;
}

export async function look(
  { sdk, client }: LambdaApi,
  name: string,
  abortSignal: AbortSignal,
): Promise<Found> {
  const latest = client.send(new sdk.GetFunctionCommand({ FunctionName: name }), { abortSignal });
  const found = await orMissing(sdk, latest);
  if (!found?.Configuration) return { tags: {} };
  const ofAlias = new sdk.GetFunctionConfigurationCommand({ FunctionName: name, Qualifier: ALIAS });
  const live = await orMissing(sdk, client.send(ofAlias, { abortSignal }));
  const reserved = found.Concurrency?.ReservedConcurrentExecutions;
  return {
    latest: found.Configuration,
    ...(live && { live }),
    tags: found.Tags ?? {},
    ...(reserved !== undefined && { reserved }),
  };
}

/** Whether Lambda still works on the function. It refuses changes until then. */
export function isSettling({ State, LastUpdateStatus }: FunctionConfiguration): boolean {
  return State === 'Pending' || LastUpdateStatus === 'InProgress';
}
