// JSON bodies of the control routes, validated against the route's schema (typebox).
import type { FastifyRequest } from 'fastify';
import type { Static, TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { DefaasError } from '../errors.ts';

/**
 * Creates a parser for one kind of JSON body.
 * @throws DefaasError REQUEST_INVALID  no JSON, or not of the schema; the message names the first
 *   field that is wrong
 */
export function jsonBody<Schema extends TSchema>(
  schema: Schema,
): (request: FastifyRequest) => Static<Schema> {
  const validator = Compile(schema);
  return (request) => {
    const value = parse(request.body);
    if (validator.Check(value)) return value;
    const [first] = validator.Errors(value);
    throw new DefaasError(
      'REQUEST_INVALID',
      `the body is not as this route takes it: ${first?.instancePath || '/'} ${first?.message ?? ''}`.trim(),
    );
  };
}

function parse(body: unknown): unknown {
  try {
    return JSON.parse(Buffer.isBuffer(body) ? body.toString('utf8') : '');
  } catch (cause) {
    throw new DefaasError('REQUEST_INVALID', 'the body is not JSON, send application/json', {
      cause,
    });
  }
}
