// Secrets of a function: its owner sets, unsets and lists them by name. Values are never shown
// again.
import type { FastifyInstance } from 'fastify';
import { Secret } from '../config.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { refusePublisher } from './artifacts.ts';
import { type FunctionParams, ownedFunction } from './owned.ts';

/** The same pattern as `variable` in defaas.schema.json, which names in use must match. */
const NAME = /^[A-Za-z][A-Za-z0-9_]{0,127}$/;
/** AWS Lambda's limit for a function's whole environment, bytes (Lambda quotas). */
const MAX_VALUE_BYTES = 4096;

interface SecretParams {
  readonly Params: FunctionParams['Params'] & { readonly key: string };
}

export async function secretRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  server.get<FunctionParams>('/secrets/:owner/:name', async (request) => {
    const { function: fn, label } = await ownedFunction(gateway, request);
    const secrets = await gateway.secrets.list(fn.id.toString());
    return { function: label, secrets };
  });

  server.put<SecretParams>('/secrets/:owner/:name/:key', async (request) => {
    const { function: fn, label, signedBy } = await ownedFunction(gateway, request);
    refusePublisher(gateway, signedBy);
    const key = keyOf(request.params.key);
    const value = secretOf(request.body, key);
    const set = await gateway.secrets.set(fn.id.toString(), key, value);
    return { function: label, name: key, ...set };
  });

  server.delete<SecretParams>('/secrets/:owner/:name/:key', async (request) => {
    const { function: fn, label } = await ownedFunction(gateway, request);
    const key = keyOf(request.params.key);
    const isChanged = await gateway.secrets.unset(fn.id.toString(), key);
    return { function: label, name: key, isChanged };
  });
}

function keyOf(text: string): string {
  if (NAME.test(text)) return text;
  throw new DefaasError(
    'SECRET_INVALID',
    `"${text.slice(0, 40)}" is no name of a variable, use letters, digits and _`,
  );
}

/** Requires UTF-8 without NUL, as environment variables do. */
function secretOf(body: unknown, key: string): Secret {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.alloc(0);
  const refuse = (why: string): never => {
    throw new DefaasError('SECRET_INVALID', `the value ${why}, on ${key}, send another`);
  };
  if (bytes.length === 0) refuse('is empty');
  if (bytes.length > MAX_VALUE_BYTES) {
    refuse(`has ${bytes.length} bytes, at most ${MAX_VALUE_BYTES}`);
  }
  const text = bytes.toString('utf8');
  if (text.includes('\0') || !Buffer.from(text, 'utf8').equals(bytes)) refuse('is no UTF-8 text');
  return new Secret(text);
}
