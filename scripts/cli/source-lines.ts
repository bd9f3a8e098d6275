// Maps lines in a bundle's stack trace to lines of the publisher's files.
import { SourceMap } from 'node:module';
import { fetchBlock } from '../../broker/client/artifacts.ts';
import type { Connection } from '../../broker/client/connection.ts';
import { ArtifactError } from '../../ipfs/artifact-error.ts';
import { isIntact, parseCid } from '../../ipfs/blocks.ts';
import { filesFromBlocks } from '../../ipfs/unixfs.ts';

/** `file:///var/task/handler.mjs:12:3` and the like. */
const PLACE = /(?:file:\/\/)?[^\s()]*\/handler\.mjs:(\d+):(\d+)/g;
const MAP_FILE = 'handler.mjs.map';

/**
 * Makes a function that replaces positions in `handler.mjs` by source file and line. `map` is
 * `handler.mjs.map`.
 */
export function createSourceLines(map: Uint8Array | undefined): (text: string) => string {
  if (!map) return (text) => text;
  const sources = new SourceMap(JSON.parse(Buffer.from(map).toString()));
  return (text) =>
    text.replaceAll(PLACE, (place, line, column) => {
      const origin = sources.findOrigin(Number(line), Number(column));
      return 'fileName' in origin
        ? `${origin.fileName}:${origin.lineNumber}:${origin.columnNumber}`
        : place;
    });
}

/**
 * The same of a published artifact, whose source map the gateway gives.
 * @throws ArtifactError ARTIFACT_CORRUPT, ARTIFACT_INVALID; DefaasClientError ARTIFACT_NOT_FOUND,
 *   GATEWAY_...
 */
export async function fetchSourceLines(
  connection: Connection,
  artifactCid: string,
): Promise<(text: string) => string> {
  const files = await filesFromBlocks(
    parseCid(artifactCid),
    async (cid) => {
      const block = { cid, bytes: await fetchBlock(connection, cid.toString()) };
      if (await isIntact(block)) return block;
      throw new ArtifactError('ARTIFACT_CORRUPT', `block ${cid} does not match its CID`);
    },
    MAP_FILE,
  );
  return createSourceLines(files.get(MAP_FILE));
}
