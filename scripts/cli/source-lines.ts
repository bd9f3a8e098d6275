// Maps lines in a bundle's stack trace to lines of the publisher's files.
import { SourceMap } from 'node:module';

/** `file:///var/task/handler.mjs:12:3` and the like. */
const PLACE = /(?:file:\/\/)?[^\s()]*\/handler\.mjs:(\d+):(\d+)/g;

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
