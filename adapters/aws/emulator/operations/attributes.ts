// The operations on what belongs to a whole function: its reserved concurrency, its tags and its
// protection against recursion; and those of the account.

import { checkEnum, invalidField, invalidParameter } from '../model/errors.ts';
import { MAX_CODE_BYTES, MAX_UNPACKED_BYTES, MAX_ZIP_BYTES } from '../model/limits.ts';
import { type Operations, optionalText, record, stringsOf, text } from '../model/operation.ts';
import { renewRevision } from '../model/records.ts';
import type { OperationParts } from './changes.ts';
import { checkTagCount } from './functions.ts';

export function createConcurrencyOperations({
  functions,
  invocations,
}: OperationParts): Operations {
  /** What is left for functions without a reservation, if `except` had none. */
  const unreserved = (except?: string) =>
    invocations.concurrency -
    functions
      .all()
      .filter(({ name }) => name !== except)
      .reduce((sum, { reservedConcurrency = 0 }) => sum + reservedConcurrency, 0);

  return {
    async PutFunctionConcurrency({ functionName, qualifier, body }) {
      if (qualifier !== undefined) {
        throw invalidParameter(
          'This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.',
        );
      }
      // AWS names the version here, though none was asked for.
      if (!functions.find(functionName)) functions.get(functionName, '$LATEST');
      const of = functions.get(functionName);
      const wanted = body.ReservedConcurrentExecutions;
      if (typeof wanted !== 'number' || !Number.isInteger(wanted) || wanted < 0) {
        throw invalidField(
          wanted,
          'reservedConcurrentExecutions',
          'Member must have value greater than or equal to 0',
        );
      }
      of.reservedConcurrency = wanted;
      await functions.save(of);
      return { status: 200, body: { ReservedConcurrentExecutions: wanted } };
    },

    GetFunctionConcurrency({ functionName }) {
      const { reservedConcurrency } = functions.get(functionName);
      return {
        status: 200,
        body:
          reservedConcurrency === undefined
            ? {}
            : { ReservedConcurrentExecutions: reservedConcurrency },
      };
    },

    async DeleteFunctionConcurrency({ functionName }) {
      const of = functions.get(functionName);
      delete of.reservedConcurrency;
      await functions.save(of);
      return { status: 204 };
    },

    GetAccountSettings() {
      const all = functions.all();
      const used = all
        .flatMap(({ latest, versions }) => [latest, ...versions])
        .reduce((sum, { CodeSize }) => sum + CodeSize, 0);
      return {
        status: 200,
        body: {
          AccountLimit: {
            TotalCodeSize: MAX_CODE_BYTES,
            CodeSizeUnzipped: MAX_UNPACKED_BYTES,
            CodeSizeZipped: MAX_ZIP_BYTES,
            ConcurrentExecutions: invocations.concurrency,
            UnreservedConcurrentExecutions: Math.max(0, unreserved()),
          },
          AccountUsage: { TotalCodeSize: used, FunctionCount: all.length },
        },
      };
    },
  };
}

export function createTagOperations({ functions }: OperationParts): Operations {
  return {
    ListTags: ({ functionName }) => ({
      status: 200,
      body: { Tags: functions.get(functionName).tags },
    }),

    async TagResource({ functionName, body }) {
      const of = functions.get(functionName);
      const added = stringsOf(record(body, 'Tags'));
      if (Object.keys(added).length === 0) {
        throw invalidParameter('An error occurred and the request cannot be processed.');
      }
      const tags = { ...of.tags, ...added };
      checkTagCount(tags);
      of.tags = tags;
      renewRevision(of);
      await functions.save(of);
      return { status: 204 };
    },

    async UntagResource({ functionName, query }) {
      const keys = query.getAll('tagKeys');
      if (keys.length === 0) throw invalidField(null, 'tagKeys', 'Member must not be null');
      const of = functions.get(functionName);
      for (const key of keys) delete of.tags[key];
      renewRevision(of);
      await functions.save(of);
      return { status: 204 };
    },
  };
}

export function createRecursionOperations({ functions, log }: OperationParts): Operations {
  return {
    GetFunctionRecursionConfig: ({ functionName }) => ({
      status: 200,
      body: { RecursiveLoop: functions.get(functionName).recursiveLoop ?? 'Terminate' },
    }),

    async PutFunctionRecursionConfig({ functionName, body }) {
      checkEnum(optionalText(body, 'RecursiveLoop'), 'recursiveLoop', ['Terminate', 'Allow']);
      const of = functions.get(functionName);
      of.recursiveLoop = text(body, 'RecursiveLoop');
      log?.('ignored', { functionName, settings: ['RecursiveLoop'] });
      await functions.save(of);
      return { status: 200, body: { RecursiveLoop: of.recursiveLoop } };
    },

    /** No function has one: CodeSigningConfigArn is refused. */
    GetFunctionCodeSigningConfig({ functionName }) {
      const { name } = functions.get(functionName);
      return { status: 200, body: { CodeSigningConfigArn: '', FunctionName: name } };
    },
  };
}
