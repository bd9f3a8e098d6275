// The operations on a function's retries and maximum age of asynchronous events.

import { invalidParameter, notFound } from '../model/errors.ts';
import type { EventInvokeConfig, Functions } from '../model/functions.ts';
import { MAX_EVENT_AGE_SEC, MAX_EVENT_RETRIES } from '../model/limits.ts';
import { checkNumber, isRecord, type Operations } from '../model/operation.ts';

/** The operations on a function's retries and maximum age of events. */
export function createEventOperations(parts: {
  readonly functions: Functions;
  readonly nowMs: () => number;
}): Operations {
  const { functions, nowMs } = parts;

  function find(name: string, qualifier: string): EventInvokeConfig {
    const found = functions.get(name).eventInvoke?.[qualifier];
    if (found) return found;
    throw notFound(
      `The function ${functions.arn(name, qualifier)} doesn't have an EventInvokeConfig`,
    );
  }

  return {
    async PutFunctionEventInvokeConfig({ functionName, qualifier = '$LATEST', body }) {
      const of = functions.get(functionName, qualifier);
      functions.version(of, qualifier);
      const { MaximumRetryAttempts, MaximumEventAgeInSeconds } = body;
      checkNumber(MaximumRetryAttempts, 'maximumRetryAttempts', 0, MAX_EVENT_RETRIES);
      checkNumber(MaximumEventAgeInSeconds, 'maximumEventAgeInSeconds', 60, MAX_EVENT_AGE_SEC);
      refuseDestinations(body.DestinationConfig);
      if (MaximumRetryAttempts === undefined && MaximumEventAgeInSeconds === undefined) {
        throw invalidParameter('You must specify at least one parameter.');
      }
      const config: EventInvokeConfig = {
        LastModified: nowMs() / 1000,
        FunctionArn: functions.arn(of.name, qualifier),
        ...(typeof MaximumRetryAttempts === 'number' && { MaximumRetryAttempts }),
        ...(typeof MaximumEventAgeInSeconds === 'number' && { MaximumEventAgeInSeconds }),
        DestinationConfig: { OnSuccess: {}, OnFailure: {} },
      };
      of.eventInvoke = { ...of.eventInvoke, [qualifier]: config };
      await functions.save(of);
      return { status: 200, body: config };
    },

    GetFunctionEventInvokeConfig: ({ functionName, qualifier = '$LATEST' }) => ({
      status: 200,
      body: find(functionName, qualifier),
    }),

    async DeleteFunctionEventInvokeConfig({ functionName, qualifier = '$LATEST' }) {
      find(functionName, qualifier);
      const of = functions.get(functionName);
      delete of.eventInvoke?.[qualifier];
      await functions.save(of);
      return { status: 204 };
    },
  };
}

/** The emulator has no other service that could receive an event. */
function refuseDestinations(destinations: unknown): void {
  if (!isRecord(destinations)) return;
  for (const each of Object.values(destinations)) {
    if (isRecord(each) && each.Destination !== undefined) {
      throw invalidParameter(`The destination ARN ${each.Destination} is invalid.`);
    }
  }
}
