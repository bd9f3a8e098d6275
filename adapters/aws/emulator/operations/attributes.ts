// The operations on a function's reserved concurrency and on its tags.

import { invalidField, invalidParameter } from '../model/errors.ts';
import type { Functions } from '../model/functions.ts';
import { type Operations, record, stringsOf } from '../model/operation.ts';

export function createConcurrencyOperations(functions: Functions): Operations {
  return {
    async PutFunctionConcurrency({ functionName, qualifier, body }) {
      const of = functions.get(functionName);
      if (qualifier !== undefined) {
        throw invalidParameter(
          'This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.',
        );
      }
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
  };
}

export function createTagOperations(functions: Functions): Operations {
  return {
    ListTags: ({ functionName, qualifier }) => ({
      status: 200,
      body: { Tags: functions.get(functionName, qualifier).tags },
    }),

    async TagResource({ functionName, qualifier, body }) {
      const of = functions.get(functionName, qualifier);
      Object.assign(of.tags, stringsOf(record(body, 'Tags')));
      await functions.save(of);
      return { status: 204 };
    },

    async UntagResource({ functionName, qualifier, query }) {
      const of = functions.get(functionName, qualifier);
      for (const key of query.getAll('tagKeys')) delete of.tags[key];
      await functions.save(of);
      return { status: 204 };
    },
  };
}
