// Speaks to the Google emulator as any client does, without the official SDK.

import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import { zip } from '../../../../adapters/deployment/zip.ts';
import type { GoogleCloudFunctionsEmulator } from '../../../../adapters/google/emulator/emulator.ts';

export const PARENT = 'projects/defaas-local/locations/us-central1';

export const functionOf = (storageSource: object, serviceConfig: object = {}) => ({
  buildConfig: { runtime: 'nodejs22', entryPoint: 'hello', source: { storageSource } },
  serviceConfig,
});

export function createWire(
  emulator: () => Pick<GoogleCloudFunctionsEmulator, 'endpoint' | 'metadataHost'>,
) {
  const metadata = (path: string) =>
    fetch(`http://${emulator().metadataHost}/computeMetadata/v1/${path}`, {
      headers: { 'metadata-flavor': 'Google' },
    });
  const accessToken = async () => {
    const answer = await metadata('instance/service-accounts/default/token');
    return ((await answer.json()) as { access_token: string }).access_token;
  };
  const idToken = async (audience: string) => {
    const query = `format=full&audience=${encodeURIComponent(audience)}`;
    return (await metadata(`instance/service-accounts/default/identity?${query}`)).text();
  };
  const control = async (method: string, path: string, body?: object, bearer?: string) => {
    const answer = await fetch(`${emulator().endpoint}/v2/${path}`, {
      method,
      headers: {
        authorization: `Bearer ${bearer ?? (await accessToken())}`,
        'content-type': 'application/json',
      },
      ...(body && { body: JSON.stringify(body) }),
    });
    // biome-ignore lint/suspicious/noExplicitAny: a foreign document, looked at field by field
    return { status: answer.status, document: (await answer.json()) as any };
  };
  const upload = async (files: Record<string, string>) => {
    const { document } = await control('POST', `${PARENT}/functions:generateUploadUrl`, {});
    const entries = Object.entries(files).map(([path, text]) => [path, Buffer.from(text)] as const);
    await fetch(document.uploadUrl, {
      method: 'PUT',
      headers: { 'content-type': 'application/zip' },
      body: zip(new Map<string, Uint8Array>(entries)) as Uint8Array<ArrayBuffer>,
    });
    return document.storageSource;
  };
  const done = async (operation: { name: string }) => {
    for (;;) {
      const { document } = await control('GET', operation.name);
      if (document.done) return document;
      await wait(20);
    }
  };
  /** Creates a function and waits. `more` is merged into the resource. @returns its address */
  const create = async (
    id: string,
    more: { buildConfig?: object; serviceConfig?: object; [field: string]: unknown },
    files: Record<string, string>,
  ) => {
    const plain = functionOf(await upload(files), more.serviceConfig);
    const buildConfig = { ...plain.buildConfig, ...more.buildConfig };
    const body = { ...plain, ...more, buildConfig };
    const { document } = await control('POST', `${PARENT}/functions?functionId=${id}`, body);
    const finished = await done(document);
    assert.equal(finished.error, undefined);
    return finished.response.serviceConfig.uri as string;
  };
  const call = async (uri: string, path = '/', init: RequestInit = {}) => {
    const authorization = `Bearer ${await idToken(uri)}`;
    return fetch(uri + path, { ...init, headers: { authorization, ...init.headers } });
  };

  return { metadata, accessToken, idToken, control, upload, done, create, call };
}
