// Artifacts and blocks at a gateway: a bundle goes up as a CAR, single blocks come down and are checked by whoever knows their CID.
import type { Connection } from './connection.ts';
import { readJson, readText } from './parse.ts';
import type { Session } from './session.ts';

/** Longest upload, ms: 64 MiB at 2 Mbit/s. */
const UPLOAD_TIMEOUT_MS = 300_000;

/** Uploads a CAR; the gateway verifies each block. Returns the CID it stored. @throws ARTIFACT_INVALID, ARTIFACT_TOO_LARGE */
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

/** The bytes that the gateway has under this CID, unchecked. @throws ARTIFACT_NOT_FOUND, GATEWAY_UNREACHABLE */
export async function fetchBlock(connection: Connection, cid: string): Promise<Uint8Array> {
  const reply = await connection.request(`/ipfs/${cid}?format=raw`, {
    headers: { accept: 'application/vnd.ipld.raw' },
  });
  return new Uint8Array(await reply.arrayBuffer());
}
