// Names of functions and layers, as requests give them: plain, as a partial ARN or as a whole ARN.

import { accessDenied, invalidFields, invalidParameter, notFound, violation } from './errors.ts';

/** Whose functions the emulator keeps. */
export interface Owner {
  readonly region: string;
  readonly accountId: string;
}

export interface FunctionReference {
  /** Without account or region. */
  readonly functionName: string;
  /** A version, an alias or `$LATEST`. Undefined when the request has none. */
  readonly qualifier?: string;
}

const REGION = '((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?';
const PREFIX = `(arn:(aws[a-zA-Z-]*)?:lambda:)?${REGION}(\\d{12}:)?(function:)?`;
/** Of CreateFunction, and of the other operations. */
const NEW_NAME = `${PREFIX}([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?`;
const NAME = `${PREFIX}([a-zA-Z0-9-_\\.]+)(:(\\$LATEST(\\.PUBLISHED)?|[a-zA-Z0-9-_]+))?`;
const QUALIFIER = '\\$(LATEST(\\.PUBLISHED)?)|[a-zA-Z0-9-_$]+';
/** Function URLs belong to the function or to an alias. */
const ALIAS_QUALIFIER = '((?!^\\d+$)^[0-9a-zA-Z-_]+$)';
const RESOURCE =
  'arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:\\d{12}:(function:[a-zA-Z0-9-_]+(:(\\$LATEST|[a-zA-Z0-9-_]+))?|layer:([a-zA-Z0-9-_]+)|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|capacity-provider:[a-zA-Z0-9-_]+)';

/** Longest name, ARN and qualifier, characters. */
const MAX_NAME = 64;
const MAX_NEW_ARN = 140;
const MAX_QUALIFIER = 128;

/**
 * The function that a path and its `Qualifier` name. With `aliasOnly`, the qualifier is an alias.
 * @throws AwsError 400 not a name, or a `Qualifier` that is not the ARN's; 403 another account; 404
 * another region
 */
export function readReference(
  given: string,
  givenQualifier: string | undefined,
  owner: Owner,
  aliasOnly = false,
): FunctionReference {
  const faults = [
    ...qualifierFaults(givenQualifier, aliasOnly),
    ...patternFaults(given, 'functionName', NAME),
  ];
  if (faults.length > 0) throw invalidFields(faults);
  const { functionName, qualifier } = take(given, NAME, owner);
  if (givenQualifier !== undefined && qualifier !== undefined && givenQualifier !== qualifier) {
    throw invalidParameter(
      'The derived qualifier from the function name does not match the specified qualifier.',
    );
  }
  const one = givenQualifier ?? qualifier;
  return { functionName, ...(one !== undefined && { qualifier: one }) };
}

/** The plain name of a function to be created. @throws AwsError as `readReference` */
export function readNewName(given: string, owner: Owner): string {
  const faults = [
    ...(given.length > MAX_NEW_ARN ? [tooLong(given, 'functionName', MAX_NEW_ARN)] : []),
    ...patternFaults(given, 'functionName', NEW_NAME),
  ];
  if (faults.length > 0) throw invalidFields(faults);
  const { functionName } = take(given, NEW_NAME, owner);
  if (functionName.length > MAX_NAME) {
    const fault = tooLong(functionName, 'functionName', MAX_NAME);
    throw invalidParameter(`1 validation error detected: ${fault}`);
  }
  return functionName;
}

/**
 * The function that a tag operation names by its ARN.
 * @throws AwsError 400 not an ARN, or that of a version; 403 another account; 404 another region
 */
export function readResource(given: string, owner: Owner): string {
  const faults = patternFaults(given, 'resource', RESOURCE);
  if (faults.length > 0) throw invalidFields(faults);
  if (!given.includes(':function:')) {
    throw invalidParameter('This emulator tags functions only.');
  }
  const { functionName, qualifier } = take(given, NAME, owner);
  if (qualifier !== undefined) {
    throw invalidParameter(
      'Tags on function aliases and versions are not supported. Please specify a function ARN.',
    );
  }
  return functionName;
}

/** Refuses the region and the account of an ARN that are not ours. @throws AwsError 403, 404 */
export function checkOwner(
  owner: Owner,
  region: string | undefined,
  account: string | undefined,
): void {
  if (region !== undefined && region !== owner.region) {
    throw notFound(
      `Functions from '${region}' are not reachable in this region ('${owner.region}')`,
    );
  }
  if (account !== undefined && account !== owner.accountId) throw accessDenied();
}

/** `given` has the pattern. */
function take(given: string, pattern: string, owner: Owner): FunctionReference {
  const groups = new RegExp(`^${pattern}$`).exec(given) ?? [];
  checkOwner(owner, groups[3]?.slice(0, -1), groups[9]?.slice(0, -1));
  const [functionName = '', , qualifier] = groups.slice(11);
  return { functionName, ...(qualifier !== undefined && { qualifier }) };
}

function qualifierFaults(given: string | undefined, aliasOnly: boolean): string[] {
  if (given === undefined) return [];
  const faults = patternFaults(given, 'qualifier', aliasOnly ? ALIAS_QUALIFIER : QUALIFIER);
  if (given.length > MAX_QUALIFIER) faults.push(tooLong(given, 'qualifier', MAX_QUALIFIER));
  return faults;
}

function patternFaults(given: string, field: string, pattern: string): string[] {
  if (new RegExp(`^(?:${pattern})$`).test(given)) return [];
  const constraint = `Member must satisfy regular expression pattern: ${pattern}`;
  return [violation(given, field, constraint)];
}

function tooLong(value: string, field: string, most: number): string {
  return violation(value, field, `Member must have length less than or equal to ${most}`);
}
