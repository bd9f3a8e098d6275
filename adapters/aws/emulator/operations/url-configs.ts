// The operations on the configuration of function URLs.

import { checkEnum, conflict, invalidParameter, notFound } from '../model/errors.ts';
import { type Functions, urlId } from '../model/functions.ts';
import {
  type Fields,
  isRecord,
  type Operations,
  optionalText,
  page,
  text,
} from '../model/operation.ts';
import type { FunctionUrlConfig, LambdaFunction } from '../model/records.ts';
import type { OperationParts } from './changes.ts';

export function createUrlOperations({ functions, nowMs, port, log }: OperationParts): Operations {
  /** With the URL, which is not stored: the port may change with a restart. */
  function shown(of: LambdaFunction | undefined, qualifier: string) {
    const config = of?.urls?.[qualifier];
    if (!of || !config) throw notFound('The resource you requested does not exist.');
    const id = urlId(functions, of.name, qualifier);
    const FunctionUrl = `http://${id}.lambda-url.${functions.region}.localhost:${port()}/`;
    return { ...config, FunctionUrl };
  }

  /** The answer is sent when it is whole, whatever the mode. */
  function tellMode(functionName: string, body: Fields): void {
    if (body.InvokeMode !== 'RESPONSE_STREAM') return;
    log?.('ignored', { functionName, settings: ['InvokeMode'] });
  }

  return {
    async CreateFunctionUrlConfig({ functionName, qualifier = '$LATEST', body }) {
      check(body);
      tellMode(functionName, body);
      const AuthType = text(body, 'AuthType') === 'NONE' ? 'NONE' : 'AWS_IAM';
      const of = existing(functions, functionName, qualifier);
      const FunctionArn = functions.arn(of.name, qualifier === '$LATEST' ? undefined : qualifier);
      if (of.urls?.[qualifier]) {
        const arn = functions.arn(of.name, qualifier);
        throw conflict(
          `Failed to create function url config for [functionArn = ${arn}]. Error message:  FunctionUrlConfig exists for this Lambda function`,
        );
      }
      const at = new Date(nowMs()).toISOString();
      const config: FunctionUrlConfig = {
        ...{ FunctionArn, AuthType, CreationTime: at, LastModifiedTime: at },
        InvokeMode: modeOf(body) ?? 'BUFFERED',
      };
      of.urls = { ...of.urls, [qualifier]: config };
      await functions.save(of);
      const { LastModifiedTime, ...created } = shown(of, qualifier);
      return { status: 201, body: created };
    },

    async UpdateFunctionUrlConfig({ functionName, qualifier = '$LATEST', body }) {
      check(body);
      tellMode(functionName, body);
      const of = existing(functions, functionName, qualifier);
      const { FunctionUrl, ...present } = shown(of, qualifier);
      const AuthType = optionalText(body, 'AuthType') ?? present.AuthType;
      const changed: FunctionUrlConfig = {
        ...present,
        AuthType: AuthType === 'NONE' ? 'NONE' : 'AWS_IAM',
        InvokeMode: modeOf(body) ?? present.InvokeMode,
        LastModifiedTime: new Date(nowMs()).toISOString(),
      };
      of.urls = { ...of.urls, [qualifier]: changed };
      await functions.save(of);
      return { status: 200, body: { ...changed, FunctionUrl } };
    },

    GetFunctionUrlConfig: ({ functionName, qualifier = '$LATEST' }) => ({
      status: 200,
      body: shown(functions.find(functionName), qualifier),
    }),

    ListFunctionUrlConfigs({ functionName, query }) {
      const of = existing(functions, functionName, '$LATEST');
      const all = Object.keys(of.urls ?? {}).map((qualifier) => shown(of, qualifier));
      const { items, next } = page(all, query, ({ FunctionArn }) => FunctionArn);
      return { status: 200, body: { FunctionUrlConfigs: items, ...next } };
    },

    async DeleteFunctionUrlConfig({ functionName, qualifier = '$LATEST' }) {
      const of = functions.find(functionName);
      shown(of, qualifier);
      delete of?.urls?.[qualifier];
      if (of) await functions.save(of);
      return { status: 204 };
    },
  };
}

/** The function, when the qualifier is an alias of it or `$LATEST`. @throws AwsError 404 */
function existing(functions: Functions, name: string, qualifier: string): LambdaFunction {
  const of = functions.find(name);
  const isThere = qualifier === '$LATEST' || of?.aliases.some(({ Name }) => Name === qualifier);
  if (of && isThere) return of;
  throw notFound('Function does not exist');
}

/** @throws AwsError 400 a value that the API has not, or CORS */
function check(body: Fields): void {
  checkEnum(body.AuthType, 'authType', ['NONE', 'AWS_IAM']);
  checkEnum(body.InvokeMode, 'invokeMode', ['BUFFERED', 'RESPONSE_STREAM']);
  if (isRecord(body.Cors) && Object.keys(body.Cors).length > 0) {
    throw invalidParameter('Cors is not supported by this emulator.');
  }
}

function modeOf(body: Fields): FunctionUrlConfig['InvokeMode'] | undefined {
  const mode = optionalText(body, 'InvokeMode');
  if (mode === undefined) return undefined;
  return mode === 'BUFFERED' ? 'BUFFERED' : 'RESPONSE_STREAM';
}
