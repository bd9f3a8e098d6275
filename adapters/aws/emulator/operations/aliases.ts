// The operations on aliases: names that point to a published version, or to two by weight.

import { randomUUID } from 'node:crypto';
import {
  conflict,
  invalidField,
  invalidParameter,
  notFound,
  wrongRevision,
} from '../model/errors.ts';
import type { Functions } from '../model/functions.ts';
import {
  type Fields,
  isRecord,
  type OperationAnswer,
  type OperationRequest,
  type Operations,
  optionalText,
  page,
  record,
  text,
} from '../model/operation.ts';
import type { Alias, LambdaFunction } from '../model/records.ts';

const ALIAS_NAME = /^(?!^[0-9]+$)([a-zA-Z0-9-_]+)$/;

export function createAliasOperations(functions: Functions): Operations {
  return {
    CreateAlias: (request) => createAlias(functions, request),
    UpdateAlias: (request) => updateAlias(functions, request),

    GetAlias({ functionName, item }) {
      const of = functions.get(functionName);
      return { status: 200, body: findAlias(functions, of, item, 'Cannot find alias arn') };
    },

    ListAliases({ functionName, query }) {
      const { aliases } = functions.get(functionName);
      const wanted = query.get('FunctionVersion');
      const matching = aliases.filter(
        ({ FunctionVersion }) => !wanted || FunctionVersion === wanted,
      );
      const { items, next } = page(matching, query, ({ Name }) => Name);
      return { status: 200, body: { Aliases: items, ...next } };
    },

    /** Succeeds for a missing alias or function: the API's model names no error for it. */
    async DeleteAlias({ functionName, item }) {
      const of = functions.find(functionName);
      if (!of) return { status: 204 };
      of.aliases = of.aliases.filter(({ Name }) => Name !== item);
      // What belongs to the alias goes with it.
      for (const kept of [of.eventInvoke, of.urls, of.policies]) delete kept?.[item];
      await functions.save(of);
      return { status: 204 };
    },
  };
}

async function createAlias(
  functions: Functions,
  { functionName, body }: OperationRequest,
): Promise<OperationAnswer> {
  const of = functions.get(functionName);
  const name = text(body, 'Name');
  if (!ALIAS_NAME.test(name)) {
    throw invalidField(
      name,
      'name',
      'Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)',
    );
  }
  if (of.aliases.some(({ Name }) => Name === name)) {
    throw conflict(`Alias already exists: ${functions.arn(of.name, name)}`);
  }
  const alias: Alias = {
    AliasArn: functions.arn(of.name, name),
    Name: name,
    FunctionVersion: text(body, 'FunctionVersion'),
    Description: optionalText(body, 'Description') ?? '',
    ...routingOf(body),
    RevisionId: randomUUID(),
  };
  checkTarget(functions, of, alias.FunctionVersion, alias.RoutingConfig);
  of.aliases.push(alias);
  await functions.save(of);
  return { status: 201, body: alias };
}

async function updateAlias(
  functions: Functions,
  { functionName, item, body }: OperationRequest,
): Promise<OperationAnswer> {
  const of = functions.get(functionName);
  const alias = findAlias(functions, of, item, 'Alias not found');
  if (body.RevisionId !== undefined && body.RevisionId !== alias.RevisionId) throw wrongRevision();
  const changed: Alias = {
    ...alias,
    FunctionVersion: optionalText(body, 'FunctionVersion') ?? alias.FunctionVersion,
    Description: optionalText(body, 'Description') ?? alias.Description,
    ...routingOf(body),
    RevisionId: randomUUID(),
  };
  if (Object.keys(changed.RoutingConfig?.AdditionalVersionWeights ?? {}).length === 0) {
    delete changed.RoutingConfig;
  }
  checkTarget(functions, of, changed.FunctionVersion, changed.RoutingConfig);
  of.aliases[of.aliases.indexOf(alias)] = changed;
  await functions.save(of);
  return { status: 200, body: changed };
}

/** @throws AwsError 404 `what` and the ARN */
function findAlias(functions: Functions, of: LambdaFunction, name: string, what: string): Alias {
  const alias = of.aliases.find(({ Name }) => Name === name);
  if (!alias) throw notFound(`${what}: ${functions.arn(of.name, name)}`);
  return alias;
}

/** @throws AwsError 400, 404 an alias cannot point to these versions */
function checkTarget(
  functions: Functions,
  of: LambdaFunction,
  version: string,
  routing: Alias['RoutingConfig'],
): void {
  functions.version(of, version);
  const extra = Object.entries(routing?.AdditionalVersionWeights ?? {});
  if (extra.length > 1)
    throw invalidParameter('Number of items in AdditionalVersionWeights cannot be greater than 1');
  for (const [other, weight] of extra) {
    if (!/^[0-9]+$/.test(other)) {
      throw invalidField(
        `{${other}=${weight}}`,
        'routingConfig.additionalVersionWeights',
        'Map keys must satisfy constraint: [Member must have length less than or equal to 1024, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [0-9]+, Member must not be null]',
      );
    }
    if (!(weight >= 0 && weight <= 1)) {
      throw invalidField(
        `{${other}=${Number.isInteger(weight) ? weight.toFixed(1) : weight}}`,
        'routingConfig.additionalVersionWeights',
        'Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0, Member must not be null]',
      );
    }
    if (version === '$LATEST')
      throw invalidParameter(
        '$LATEST is not supported for an alias pointing to more than 1 version',
      );
    if (other === version) {
      throw invalidParameter(
        `Invalid function version ${other}. Function version ${other} is already included in routing configuration.`,
      );
    }
    functions.version(of, other);
  }
}

function routingOf(body: Fields): Pick<Alias, 'RoutingConfig'> {
  if (!isRecord(body.RoutingConfig)) return {};
  const weights = record(body.RoutingConfig, 'AdditionalVersionWeights');
  const AdditionalVersionWeights = Object.fromEntries(
    Object.entries(weights).map(([version, weight]) => [version, Number(weight)]),
  );
  return { RoutingConfig: { AdditionalVersionWeights } };
}
