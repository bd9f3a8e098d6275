// The URLs of `Code.Location`: whoever has one can download a stored zip for some minutes, without
// credentials, as with a presigned URL of S3.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import type { Functions } from './model/functions.ts';

export interface CodeUrls {
  create(codeSha256: string): string;
  /** The zip, or undefined for a URL that is not ours, has expired or names nothing. */
  read(url: string): Buffer | undefined;
}

/** How long a URL is valid (GetFunction in the API reference: 10 minutes). */
const VALID_MS = 600_000;
const PATH = /^\/snapshots\/([0-9a-f]{64})\?X-Amz-Expires=(\d+)&X-Amz-Signature=([0-9a-f]{64})$/;

export function createCodeUrls(parts: {
  readonly functions: Pick<Functions, 'zipFile'>;
  readonly secret: string;
  readonly port: () => number;
  readonly nowMs: () => number;
}): CodeUrls {
  const { functions, nowMs, port } = parts;
  const sign = (hex: string, untilMs: string) =>
    createHmac('sha256', parts.secret).update(`code ${hex} ${untilMs}`).digest();

  return {
    create(codeSha256) {
      const hex = Buffer.from(codeSha256, 'base64').toString('hex');
      const untilMs = String(nowMs() + VALID_MS);
      const signature = sign(hex, untilMs).toString('hex');
      return `http://127.0.0.1:${port()}/snapshots/${hex}?X-Amz-Expires=${untilMs}&X-Amz-Signature=${signature}`;
    },

    read(url) {
      const [, hex = '', untilMs = '', given = ''] = PATH.exec(url) ?? [];
      if (hex === '' || Number(untilMs) < nowMs()) return undefined;
      if (!timingSafeEqual(sign(hex, untilMs), Buffer.from(given, 'hex'))) return undefined;
      const file = functions.zipFile(Buffer.from(hex, 'hex').toString('base64'));
      return existsSync(file) ? readFileSync(file) : undefined;
    },
  };
}
