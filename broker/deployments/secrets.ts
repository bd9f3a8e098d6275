// Secrets of functions: encrypted in the ledger, decrypted only to be set at a cloud, never shown
// again.

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { refuseExposed } from '../../adapters/runtime/whole-file.ts';
import { Secret } from '../config.ts';
import { DefaasError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';

/** AES-256-GCM (NIST SP 800-38D): length of key, nonce and tag, bytes. */
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export interface SecretEntry {
  readonly name: string;
  readonly revision: number;
  /** When it was set, Unix ms of the gateway's clock. */
  readonly atMs: number;
}

export interface OpenedSecret {
  readonly value: Secret;
  readonly revision: number;
}

/** `functionId` is the function's id in decimal. */
export interface Secrets {
  /** Setting the same value again changes nothing. */
  set(
    functionId: string,
    name: string,
    value: Secret,
  ): Promise<{ readonly revision: number; readonly isChanged: boolean }>;
  /** Returns whether the secret existed. */
  unset(functionId: string, name: string): Promise<boolean>;
  /** The secrets that are set, ordered by name. */
  list(functionId: string): Promise<readonly SecretEntry[]>;
  /**
   * Values of those of the named secrets that are set.
   * @throws DefaasError SECRET_UNREADABLE  sealed with another key
   */
  open(functionId: string, names: readonly string[]): Promise<ReadonlyMap<string, OpenedSecret>>;
}

interface SecretsOptions {
  readonly ledger: Pick<Ledger, 'putSecret' | 'secrets'>;
  /** Created when the first secret is set; readable by its owner only. */
  readonly keyFile: string;
  readonly nowMs: () => number;
}

export function createSecrets({ ledger, keyFile, nowMs }: SecretsOptions): Secrets {
  let key: Buffer | undefined;

  const keyNow = (): Buffer => {
    key ??= readOrMakeKey(keyFile);
    return key;
  };
  const find = async (functionId: string, name: string) =>
    (await ledger.secrets(functionId)).find((secret) => secret.name === name);
  const unseal = (functionId: string, name: string, sealed: Uint8Array): Secret => {
    try {
      return new Secret(unsealText(keyNow(), placeOf(functionId, name), sealed));
    } catch (cause) {
      throw new DefaasError(
        'SECRET_UNREADABLE',
        `${name} cannot be opened with the key in ${keyFile}, restore that file or set the secret again`,
        { cause },
      );
    }
  };

  return {
    set: async (functionId, name, value) => {
      const before = await find(functionId, name);
      if (before?.sealed !== undefined && isSame(before.sealed, value)) {
        return { revision: before.revision, isChanged: false };
      }
      const sealed = sealText(keyNow(), placeOf(functionId, name), value.reveal());
      const revision = await ledger.putSecret({ functionId, name, atMs: nowMs(), sealed });
      return { revision, isChanged: true };

      /** A value that cannot be decrypted counts as different. */
      function isSame(old: Uint8Array, fresh: Secret): boolean {
        try {
          return unseal(functionId, name, old).reveal() === fresh.reveal();
        } catch {
          return false;
        }
      }
    },
    unset: async (functionId, name) => {
      const before = await find(functionId, name);
      if (before?.sealed === undefined) return false;
      await ledger.putSecret({ functionId, name, atMs: nowMs() });
      return true;
    },
    list: async (functionId) =>
      (await ledger.secrets(functionId)).flatMap(({ name, revision, atMs, sealed }) =>
        sealed === undefined ? [] : [{ name, revision, atMs }],
      ),
    open: async (functionId, names) => {
      const opened = new Map<string, OpenedSecret>();
      if (names.length === 0) return opened;
      for (const { name, revision, sealed } of await ledger.secrets(functionId)) {
        if (sealed === undefined || !names.includes(name)) continue;
        opened.set(name, { value: unseal(functionId, name, sealed), revision });
      }
      return opened;
    },
  };
}

/**
 * Authenticated data of the encryption: a sealed value opens only for its own function and name.
 */
function placeOf(functionId: string, name: string): Buffer {
  return Buffer.from(JSON.stringify([functionId, name]));
}

function sealText(key: Buffer, place: Buffer, text: string): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(place);
  const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return new Uint8Array(Buffer.concat([nonce, cipher.getAuthTag(), sealed]));
}

function unsealText(key: Buffer, place: Buffer, bytes: Uint8Array): string {
  const nonce = bytes.subarray(0, NONCE_BYTES);
  const tag = bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES);
  const sealed = bytes.subarray(NONCE_BYTES + TAG_BYTES);
  const cipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(place).setAuthTag(tag);
  return Buffer.concat([cipher.update(sealed), cipher.final()]).toString('utf8');
}

/**
 * Create the key file atomically: a key truncated by a crash would make every secret unreadable.
 */
function readOrMakeKey(file: string): Buffer {
  try {
    return readKey(file);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${randomBytes(KEY_BYTES).toString('hex')}\n`, { mode: 0o600, flush: true });
  try {
    // Fails if another process was first; then its key is used.
    linkSync(draft, file);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  } finally {
    rmSync(draft);
  }
  return readKey(file);
}

function readKey(file: string): Buffer {
  const key = Buffer.from(readFileSync(file, 'utf8').trim(), 'hex');
  refuseExposed(file);
  if (key.length !== KEY_BYTES) throw new Error(`${file} is not ${KEY_BYTES} bytes of hex`);
  return key;
}
