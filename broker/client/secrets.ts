// Secrets of a function at a gateway: values can be set but never read.
import { readArray, readCount, readJson, readObject, readText } from './parse.ts';
import type { Session } from './session.ts';

interface SecretName {
  readonly owner: string;
  readonly name: string;
  /** Name of the variable. */
  readonly key: string;
}

export interface SecretEntry {
  readonly name: string;
  /** Increases with each change. */
  readonly revision: number;
  /** When it was set, by the gateway's clock. */
  readonly atMs: number;
}

/**
 * Sets a secret. Setting the same value again changes nothing. A running deployment keeps its old
 * value until it is deployed again.
 * @throws SECRET_INVALID, NOT_OWNER, FUNCTION_UNKNOWN
 */
export async function setSecret(
  session: Session,
  of: SecretName,
  value: string,
): Promise<{ readonly revision: number; readonly isChanged: boolean }> {
  const reply = await session.request(pathOf(of), {
    method: 'PUT',
    headers: { 'content-type': 'text/plain; charset=utf-8' },
    body: value,
  });
  const set = await readJson(reply, 'the secret');
  return { revision: readCount(set.revision, 'revision'), isChanged: set.isChanged === true };
}

/** Removes a secret. Resolves to whether there was one. @throws NOT_OWNER, FUNCTION_UNKNOWN */
export async function unsetSecret(session: Session, of: SecretName): Promise<boolean> {
  const reply = await session.request(pathOf(of), { method: 'DELETE' });
  return (await readJson(reply, 'the secret')).isChanged === true;
}

/** Lists names, never values. @throws NOT_OWNER, FUNCTION_UNKNOWN */
export async function listSecrets(
  session: Session,
  { owner, name }: Omit<SecretName, 'key'>,
): Promise<readonly SecretEntry[]> {
  const reply = await session.request(`/secrets/${owner}/${name}`);
  const { secrets } = await readJson(reply, 'the secrets');
  return readArray(secrets, 'secrets').map((item) => {
    const secret = readObject(item, 'a secret');
    return {
      name: readText(secret.name, 'name'),
      revision: readCount(secret.revision, 'revision'),
      atMs: readCount(secret.atMs, 'atMs'),
    };
  });
}

function pathOf({ owner, name, key }: SecretName): string {
  return `/secrets/${owner}/${name}/${encodeURIComponent(key)}`;
}
