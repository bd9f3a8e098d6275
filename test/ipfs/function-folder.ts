// Folders of functions for the tests of the bundler, and what their artifacts answer.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ArtifactError, type ArtifactErrorCode } from '../../ipfs/artifact-error.ts';
import { bundle } from '../../ipfs/bundle.ts';

/** Writes the files, objects as JSON, with a manifest unless they have one. */
export async function writeFolder(
  path: string,
  files: Readonly<Record<string, string | object>>,
): Promise<string> {
  for (const [file, content] of Object.entries({ 'defaas.json': { name: 'fn' }, ...files })) {
    await mkdir(dirname(join(path, file)), { recursive: true });
    await writeFile(
      join(path, file),
      typeof content === 'string' ? content : JSON.stringify(content),
    );
  }
  return path;
}

/** `on` is the place that the line must name. */
export async function refused(path: string, code: ArtifactErrorCode, on: string): Promise<string> {
  const error = await bundle(path).then(
    () => assert.fail(`${code} expected`),
    (reason) => reason,
  );
  assert.ok(error instanceof ArtifactError, error);
  assert.equal(error.code, code);
  assert.ok(!error.message.includes('\n'), 'one line');
  assert.ok(error.message.includes(on), `"${error.message}" names ${on}`);
  return error.message;
}

/** What the artifact's handler returns in a process that may read nothing else. */
export async function runArtifact(
  files: ReadonlyMap<string, Uint8Array>,
  into: string,
): Promise<unknown> {
  for (const [path, bytes] of files) {
    await mkdir(dirname(join(into, path)), { recursive: true });
    await writeFile(join(into, path), bytes);
  }
  const url = pathToFileURL(join(into, 'handler.mjs'));
  const program = `const { default: run } = await import(${JSON.stringify(url)}); console.log(JSON.stringify(await run()))`;
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--permission', `--allow-fs-read=${into}`, '--input-type=module', '-e', program],
    { encoding: 'utf8', cwd: into },
  );
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout);
}
