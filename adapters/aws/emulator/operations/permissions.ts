// The operations on resource policies: who may call a function, a version or an alias.

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
  type OperationAnswer,
  type OperationRequest,
  type Operations,
  optionalText,
  text,
} from '../model/operation.ts';
import { type LambdaFunction, renewRevision, type Statement } from '../model/records.ts';

/** Largest policy, bytes of JSON (Lambda quotas). */
const MAX_POLICY_BYTES = 20_480;

export function createPermissionOperations(functions: Functions): Operations {
  return {
    AddPermission: (request) => addPermission(functions, request),
    RemovePermission: (request) => removePermission(functions, request),

    GetPolicy({ functionName, qualifier }) {
      const of = functions.find(functionName);
      const statements = of?.policies?.[qualifier ?? '$LATEST'] ?? [];
      if (!of || statements.length === 0) {
        throw notFound('The resource you requested does not exist.');
      }
      return {
        status: 200,
        body: { Policy: policyOf(statements), RevisionId: revision(functions, of, qualifier) },
      };
    },
  };
}

async function addPermission(
  functions: Functions,
  { functionName, qualifier, body }: OperationRequest,
): Promise<OperationAnswer> {
  const sid = text(body, 'StatementId');
  const pattern = '([a-zA-Z0-9-_]+)';
  if (!new RegExp(`^${pattern}$`).test(sid)) {
    const constraint = `Member must satisfy regular expression pattern: ${pattern}`;
    throw invalidField(sid, 'statementId', constraint);
  }
  const action = text(body, 'Action');
  if (!/^(lambda:[*]|lambda:[a-zA-Z]+|[*])$/.test(action)) {
    const constraint =
      'Member must satisfy regular expression pattern: (lambda:[*]|lambda:[a-zA-Z]+|[*])';
    throw invalidField(action, 'action', constraint);
  }
  if (qualifier === '$LATEST') {
    throw invalidParameter('We currently do not support adding policies for $LATEST.');
  }
  const of = functions.get(functionName, functions.find(functionName) && qualifier);
  checkRevision(functions, of, qualifier, optionalText(body, 'RevisionId'));
  const statement: Statement = {
    Sid: sid,
    Effect: 'Allow',
    Principal: principalOf(text(body, 'Principal')),
    Action: action,
    Resource: functions.arn(of.name, qualifier),
    ...conditionOf(body),
  };
  const key = qualifier ?? '$LATEST';
  const present = of.policies?.[key] ?? [];
  if (present.some(({ Sid }) => Sid === sid)) {
    throw conflict(
      `The statement id (${sid}) provided already exists. Please provide a new statement id, or remove the existing statement.`,
    );
  }
  const statements = [...present, statement];
  if (Buffer.byteLength(policyOf(statements)) > MAX_POLICY_BYTES) {
    throw invalidParameter('The final policy size is bigger than the limit (20480).');
  }
  of.policies = { ...of.policies, [key]: statements };
  renew(of, qualifier);
  await functions.save(of);
  return { status: 201, body: { Statement: JSON.stringify(statement) } };
}

async function removePermission(
  functions: Functions,
  { functionName, qualifier, item, query }: OperationRequest,
): Promise<OperationAnswer> {
  const of = functions.find(functionName);
  if (!of) throw notFound(`No policy found for: ${functions.arn(functionName, qualifier)}`);
  checkRevision(functions, of, qualifier, query.get('RevisionId') ?? undefined);
  const key = qualifier ?? '$LATEST';
  const present = of.policies?.[key] ?? [];
  if (present.length === 0) throw notFound('No policy is associated with the given resource.');
  const left = present.filter(({ Sid }) => Sid !== item);
  if (left.length === present.length) {
    throw notFound(`Statement ${item} is not found in resource policy.`);
  }
  of.policies = { ...of.policies, [key]: left };
  renew(of, qualifier);
  await functions.save(of);
  return { status: 204 };
}

/** The RevisionId of what the policy belongs to. @throws AwsError 404 there is no such thing */
function revision(functions: Functions, of: LambdaFunction, qualifier?: string): string {
  const alias = of.aliases.find(({ Name }) => Name === qualifier);
  if (alias) return alias.RevisionId;
  const isAlias = qualifier !== undefined && /^[a-zA-Z][\w-]*$/.test(qualifier);
  if (isAlias) throw notFound(`Cannot find alias arn: ${functions.arn(of.name, qualifier)}`);
  return functions.version(of, qualifier).RevisionId;
}

function checkRevision(
  functions: Functions,
  of: LambdaFunction,
  qualifier: string | undefined,
  given: string | undefined,
): void {
  const present = revision(functions, of, qualifier);
  if (given === undefined || given === present) return;
  const isAlias = of.aliases.some(({ Name }) => Name === qualifier);
  throw wrongRevision(isAlias ? 'GetPolicy' : undefined);
}

function renew(of: LambdaFunction, qualifier: string | undefined): void {
  const version = of.versions.find(({ Version }) => Version === qualifier);
  const alias = of.aliases.find(({ Name }) => Name === qualifier);
  if (version) version.RevisionId = randomUUID();
  else if (alias) alias.RevisionId = randomUUID();
  else renewRevision(of);
}

function policyOf(statements: readonly Statement[]): string {
  return JSON.stringify({ Version: '2012-10-17', Id: 'default', Statement: statements });
}

/** Everybody, an account, an ARN or a service. @throws AwsError 400 none of these */
function principalOf(given: string): Statement['Principal'] {
  if (given === '*') return given;
  if (/^\d{12}$/.test(given)) return { AWS: `arn:aws:iam::${given}:root` };
  if (/^arn:aws[a-zA-Z-]*:(iam|sts)::\d{12}:/.test(given)) return { AWS: given };
  if (/^[a-z0-9-]+(\.[a-z0-9-]+)*\.amazonaws\.com$/.test(given)) return { Service: given };
  throw invalidParameter(
    'The provided principal was invalid. Please check the principal and try again.',
  );
}

function conditionOf(body: Fields): Pick<Statement, 'Condition'> {
  const equals = {
    'AWS:SourceAccount': optionalText(body, 'SourceAccount'),
    'lambda:EventSourceToken': optionalText(body, 'EventSourceToken'),
    'aws:PrincipalOrgID': optionalText(body, 'PrincipalOrgID'),
    'lambda:FunctionUrlAuthType': optionalText(body, 'FunctionUrlAuthType'),
  };
  const StringEquals: Record<string, string> = {};
  for (const [name, value] of Object.entries(equals)) if (value) StringEquals[name] = value;
  const arn = optionalText(body, 'SourceArn');
  const Condition = {
    ...(Object.keys(StringEquals).length > 0 && { StringEquals }),
    ...(arn && { ArnLike: { 'AWS:SourceArn': arn } }),
  };
  return Object.keys(Condition).length > 0 ? { Condition } : {};
}
