// Uploads the package of a deploy to the signed URL that the control plane gave.

import type { Sender, UpstreamResponse } from '../http/send.ts';
import { codeOfStatus } from '../http/status.ts';
import { ProviderError } from '../provider.ts';
import { about } from './errors.ts';

const MAX_ANSWER_BYTES = 64 * 1024;

/** @throws ProviderError PROVIDER_CONNECTION, PROVIDER_DEADLINE, or the code of the status */
export async function upload(
  send: Sender['send'],
  uploadUrl: string,
  bytes: Uint8Array,
  { target, signal }: { readonly target: string; readonly signal: AbortSignal },
): Promise<void> {
  const url = new URL(uploadUrl);
  const request = {
    origin: url.origin,
    method: 'PUT',
    path: url.pathname + url.search,
    // The URL is signed for exactly this header and for a request without `authorization`.
    headers: { 'content-type': 'application/zip' },
    body: bytes,
  };
  const facts = about('upload', target);
  let answer: UpstreamResponse;
  try {
    answer = await send(request, { signal, maxResponseBytes: MAX_ANSWER_BYTES });
  } catch (cause) {
    const code = signal.aborted ? 'PROVIDER_DEADLINE' : 'PROVIDER_CONNECTION';
    throw new ProviderError(code, `upload of ${target} broke off`, { ...facts, cause });
  }
  const { status } = answer;
  if (status === 200) return;
  const message = `upload of ${target} was answered ${status}`;
  throw new ProviderError(codeOfStatus(status), message, { ...facts, status });
}
