// The operations on the configuration of function URLs.

import { conflict, invalidField, invalidParameter, notFound } from '../model/errors.ts';
import {
  type Functions,
  type FunctionUrlConfig,
  type LambdaFunction,
  urlId,
} from '../model/functions.ts';
import { isRecord, type Operations, optionalText } from '../model/operation.ts';

/** The operations on function URLs. `port` is the emulator's. */
export function createUrlOperations(parts: {
  readonly functions: Functions;
  readonly nowMs: () => number;
  readonly port: () => number;
}): Operations {
  const { functions, nowMs, port } = parts;

  function shown(
    of: LambdaFunction,
    qualifier: string,
  ): FunctionUrlConfig & { FunctionUrl: string } {
    const config = of.urls?.[qualifier];
    if (!config) throw notFound('The resource you requested does not exist.');
    const id = urlId(functions, of.name, qualifier);
    // Not stored: the port may change with a restart.
    const FunctionUrl = `http://${id}.lambda-url.${functions.region}.localhost:${port()}/`;
    return { ...config, FunctionUrl };
  }

  return {
    async CreateFunctionUrlConfig({ functionName, qualifier = '$LATEST', body }) {
      const of = functions.get(functionName, qualifier);
      const isAlias = of.aliases.some(({ Name }) => Name === qualifier);
      if (qualifier !== '$LATEST' && !isAlias) {
        throw notFound(`Function not found: ${functions.arn(of.name, qualifier)}`);
      }
      const AuthType = optionalText(body, 'AuthType');
      if (AuthType !== 'NONE' && AuthType !== 'AWS_IAM') {
        const constraint = 'Member must satisfy enum value set: [NONE, AWS_IAM]';
        throw invalidField(AuthType ?? 'null', 'authType', constraint);
      }
      const mode = optionalText(body, 'InvokeMode') ?? 'BUFFERED';
      if (mode !== 'BUFFERED' || isRecord(body.Cors)) {
        throw invalidParameter('This emulator offers function URLs without streaming and CORS.');
      }
      if (of.urls?.[qualifier]) {
        const arn = functions.arn(of.name, qualifier);
        throw conflict(
          `Failed to create function url config for [functionArn = ${arn}]. Error message:  FunctionUrlConfig exists for this Lambda function`,
        );
      }
      const at = new Date(nowMs()).toISOString();
      const config: FunctionUrlConfig = {
        FunctionArn: functions.arn(of.name, qualifier === '$LATEST' ? undefined : qualifier),
        AuthType,
        CreationTime: at,
        LastModifiedTime: at,
        InvokeMode: 'BUFFERED',
      };
      of.urls = { ...of.urls, [qualifier]: config };
      await functions.save(of);
      const { LastModifiedTime, ...created } = shown(of, qualifier);
      return { status: 201, body: created };
    },

    GetFunctionUrlConfig: ({ functionName, qualifier = '$LATEST' }) => ({
      status: 200,
      body: shown(functions.get(functionName, qualifier), qualifier),
    }),

    async DeleteFunctionUrlConfig({ functionName, qualifier = '$LATEST' }) {
      const of = functions.get(functionName, qualifier);
      shown(of, qualifier);
      delete of.urls?.[qualifier];
      await functions.save(of);
      return { status: 204 };
    },
  };
}
