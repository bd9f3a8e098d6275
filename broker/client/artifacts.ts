// Artifacts and blocks at a gateway: uploads a bundle as a CAR and fetches single blocks. The
// caller checks a block against its CID.
import type { Connection } from './connection.ts';
import { DefaasClientError, readProblem } from './errors.ts';
import { readJson, readText } from './parse.ts';
import { readUpTo } from './read-body.ts';
import type { Session } from './session.ts';

/** Longest upload, ms: 64 MiB at 2 Mbit/s. */
const UPLOAD_TIMEOUT_MS = 300_000;
const BLOCK_TIMEOUT_MS = 30_000;
/** Largest block that bitswap carries, bytes: twice the largest block of a batch. */
const MAX_BLOCK_BYTES = 2 * 1024 * 1024;

/**
 * Uploads a CAR; the gateway verifies each block. Returns the CID it stored.
 * @throws ARTIFACT_INVALID, ARTIFACT_TOO_LARGE
 */
export async function uploadArtifact(
  session: Session,
  car: Uint8Array<ArrayBuffer>,
): Promise<string> {
  const reply = await session.request('/artifacts', {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.ipld.car' },
    body: car,
    timeoutMs: UPLOAD_TIMEOUT_MS,
  });
  return readText((await readJson(reply, 'the artifact')).cid, 'cid');
}

/**
 * Fetches the bytes that the gateway stores under this CID, without checking them.
 * @throws ARTIFACT_NOT_FOUND, GATEWAY_UNREACHABLE, GATEWAY_PROTOCOL
 */
export async function fetchBlock(connection: Connection, cid: string): Promise<Uint8Array> {
  const reply = await connection.request(`/ipfs/${cid}?format=raw`, {
    headers: { accept: 'application/vnd.ipld.raw' },
  });
  return readBlock(reply, cid);
}

/**
 * Fetches the bytes of this CID from any IPFS gateway at this origin, without checking them.
 * @throws GATEWAY_UNREACHABLE, GATEWAY_PROTOCOL
 */
export async function fetchBlockAt(origin: string, cid: string): Promise<Uint8Array> {
  const url = new URL(`/ipfs/${cid}?format=raw`, origin);
  try {
    const reply = await fetch(url, {
      headers: { accept: 'application/vnd.ipld.raw' },
      redirect: 'error',
      signal: AbortSignal.timeout(BLOCK_TIMEOUT_MS),
    });
    if (reply.ok) return await readBlock(reply, cid);
    throw await readProblem(reply, `GET ${url.pathname}`);
  } catch (cause) {
    if (cause instanceof DefaasClientError) throw cause;
    throw new DefaasClientError('GATEWAY_UNREACHABLE', `no answer from ${origin}`, { cause });
  }
}

async function readBlock(reply: Response, cid: string): Promise<Uint8Array> {
  const { bytes, isWhole } = await readUpTo(reply, MAX_BLOCK_BYTES);
  if (isWhole) return bytes;
  throw new DefaasClientError(
    'GATEWAY_PROTOCOL',
    `block ${cid} is given with more than ${MAX_BLOCK_BYTES} bytes, no block has so many`,
  );
}
