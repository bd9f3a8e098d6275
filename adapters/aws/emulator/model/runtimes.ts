// The runtimes of the API's model. The emulator has Node only, its own, under every name of it.

import { invalidParameter } from './errors.ts';

/** They run on the emulator's own Node, whatever they are called. */
export const NODE_RUNTIMES = ['nodejs18.x', 'nodejs20.x', 'nodejs22.x', 'nodejs24.x'];

/** The API takes them, this emulator has none of them. */
export const OTHER_RUNTIMES = [
  ...['python3.9', 'python3.10', 'python3.11', 'python3.12', 'python3.13', 'python3.14'],
  ...['java8.al2', 'java11', 'java17', 'java21', 'java25', 'dotnet6', 'dotnet8', 'dotnet10'],
  ...['ruby3.2', 'ruby3.3', 'ruby3.4', 'provided.al2', 'provided.al2023'],
];

/** The API takes them no more. */
export const RETIRED_RUNTIMES = [
  ...['nodejs', 'nodejs4.3', 'nodejs4.3-edge', 'nodejs6.10', 'nodejs8.10', 'nodejs10.x'],
  ...['nodejs12.x', 'nodejs14.x', 'nodejs16.x', 'java8', 'python2.7', 'python3.6', 'python3.7'],
  ...['python3.8', 'dotnetcore1.0', 'dotnetcore2.0', 'dotnetcore2.1', 'dotnetcore3.1', 'go1.x'],
  ...['ruby2.5', 'ruby2.7', 'provided'],
];

/** @throws AwsError 400 */
export function checkRuntime(runtime: string): void {
  if (RETIRED_RUNTIMES.includes(runtime)) {
    throw invalidParameter(
      `The runtime parameter of ${runtime} is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions.`,
    );
  }
  if (NODE_RUNTIMES.includes(runtime)) return;
  const known = [...NODE_RUNTIMES, ...OTHER_RUNTIMES];
  if (!known.includes(runtime)) {
    throw invalidParameter(
      `Value ${runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [${known.join(', ')}] or be a valid ARN`,
    );
  }
  throw invalidParameter(
    `The runtime ${runtime} is not supported by this emulator. It has ${NODE_RUNTIMES.join(', ')}.`,
  );
}
