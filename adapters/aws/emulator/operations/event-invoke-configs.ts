// The operations on a function's retries and maximum age of asynchronous events.

import { invalidField, invalidParameter, notFound } from '../model/errors.ts';
import type { Functions } from '../model/functions.ts';
import { MAX_EVENT_AGE_SEC, MAX_EVENT_RETRIES } from '../model/limits.ts';
import {
  checkNumber,
  type Fields,
  isRecord,
  type OperationAnswer,
  type OperationRequest,
  type Operations,
  page,
} from '../model/operation.ts';
import type { EventInvokeConfig, LambdaFunction } from '../model/records.ts';
import type { OperationParts } from './changes.ts';

const DESTINATION =
  '$|kafka://([^.]([a-zA-Z0-9\\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1})?:(\\d{12})?:(.*)';

export function createEventOperations(parts: OperationParts): Operations {
  const { functions } = parts;
  return {
    PutFunctionEventInvokeConfig: (request) => put(parts, request),
    UpdateFunctionEventInvokeConfig: (request) => put(parts, request, true),

    GetFunctionEventInvokeConfig: ({ functionName, qualifier = '$LATEST' }) => ({
      status: 200,
      body: find(functions, functionName, qualifier),
    }),

    ListFunctionEventInvokeConfigs({ functionName, query }) {
      const of = existing(functions, functionName, '$LATEST');
      const all = Object.values(of.eventInvoke ?? {});
      const { items, next } = page(all, query, ({ FunctionArn }) => FunctionArn);
      return { status: 200, body: { FunctionEventInvokeConfigs: items, ...next } };
    },

    async DeleteFunctionEventInvokeConfig({ functionName, qualifier = '$LATEST' }) {
      find(functions, functionName, qualifier);
      const of = functions.get(functionName);
      delete of.eventInvoke?.[qualifier];
      await functions.save(of);
      return { status: 204 };
    },
  };
}

/** Replaces the configuration, or with `keeps` changes what the request names. */
async function put(
  { functions, nowMs }: OperationParts,
  { functionName, qualifier = '$LATEST', body }: OperationRequest,
  keeps = false,
): Promise<OperationAnswer> {
  const { MaximumRetryAttempts, MaximumEventAgeInSeconds, DestinationConfig } = body;
  checkNumber(MaximumRetryAttempts, 'maximumRetryAttempts', 0, MAX_EVENT_RETRIES);
  checkNumber(MaximumEventAgeInSeconds, 'maximumEventAgeInSeconds', 60, MAX_EVENT_AGE_SEC);
  const given = [MaximumRetryAttempts, MaximumEventAgeInSeconds, DestinationConfig];
  if (given.every((each) => each === undefined)) {
    throw invalidParameter(
      'You must specify at least one of error handling or destination setting.',
    );
  }
  const of = existing(functions, functionName, qualifier);
  refuseDestinations(functions, of, DestinationConfig);
  const present = keeps ? find(functions, functionName, qualifier) : undefined;
  const config: EventInvokeConfig = {
    ...present,
    LastModified: nowMs() / 1000,
    FunctionArn: functions.arn(of.name, qualifier),
    ...(typeof MaximumRetryAttempts === 'number' && { MaximumRetryAttempts }),
    ...(typeof MaximumEventAgeInSeconds === 'number' && { MaximumEventAgeInSeconds }),
    DestinationConfig: { OnSuccess: {}, OnFailure: {} },
  };
  of.eventInvoke = { ...of.eventInvoke, [qualifier]: config };
  await functions.save(of);
  return { status: 200, body: config };
}

function existing(functions: Functions, name: string, qualifier: string): LambdaFunction {
  const of = functions.find(name);
  const names = of && ['$LATEST', ...of.aliases.map(({ Name }) => Name)];
  const versions = of?.versions.map(({ Version }) => Version) ?? [];
  if (of && [...(names ?? []), ...versions].includes(qualifier)) return of;
  throw notFound("The function doesn't exist.");
}

/** @throws AwsError 404 no configuration, also when there is no such function */
function find(functions: Functions, name: string, qualifier: string): EventInvokeConfig {
  const found = functions.find(name)?.eventInvoke?.[qualifier];
  if (found) return found;
  throw notFound(
    `The function ${functions.arn(name, qualifier)} doesn't have an EventInvokeConfig`,
  );
}

/** The emulator sends the outcome of an event nowhere. @throws AwsError 400 */
function refuseDestinations(functions: Functions, of: LambdaFunction, given: unknown): void {
  if (!isRecord(given)) return;
  for (const [on, each] of Object.entries(given)) {
    const destination = isRecord(each) ? (each as Fields).Destination : undefined;
    if (typeof destination !== 'string' || destination === '') continue;
    if (!new RegExp(`^(?:${DESTINATION})$`).test(destination)) {
      const field = `destinationConfig.${on.charAt(0).toLowerCase()}${on.slice(1)}.destination`;
      const constraint = `Member must satisfy regular expression pattern: ${DESTINATION}`;
      throw invalidField(destination, field, constraint);
    }
    if (destination === functions.arn(of.name)) {
      throw invalidParameter("You can't specify the function as a destination for itself.");
    }
    throw invalidParameter(`The destination ARN ${destination} is invalid.`);
  }
}
