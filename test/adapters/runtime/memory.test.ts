// The bound on an instance's memory while the gateway looks at nothing: its event loop is blocked
// for as long as the instance grows.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { probeIsolation } from '../../../adapters/runtime/isolation.ts';

const MEMORY_MIB = 256;

const GROW = `
const { writeSync } = require('node:fs');
const kept = [];
try {
  for (;;) {
    for (let n = 0; n < 4; n += 1) kept.push(Buffer.alloc(1 << 20, 1));
    writeSync(1, Math.ceil(process.memoryUsage.rss() / 1048576) + '\\n');
  }
} catch {}`;

const root = mkdtempSync(join(tmpdir(), 'defaas-memory-'));
const sandbox = probeIsolation(root);
const skipped = sandbox.kind === 'sandbox' ? '' : ` (skipped: ${sandbox.found})`;

describe('the memory of an instance', () => {
  after(() => rmSync(root, { recursive: true, force: true }));

  (skipped ? it.skip : it)(`is bounded by the kernel near its limit${skipped}`, () => {
    const codeDir = join(root, 'code');
    mkdirSync(codeDir);
    const place = sandbox.enclose({ codeDir, programs: [], memoryMiB: MEMORY_MIB });
    const [command = '', ...args] = place.command?.([...place.args.slice(0, -1), '-e', GROW]) ?? [];
    const filter = place.descriptors.filter((each) => typeof each === 'number');

    const { stdout } = spawnSync(command, args, {
      env: {},
      stdio: ['ignore', 'pipe', 'ignore', 'pipe', ...filter],
      encoding: 'utf8',
    });
    place.entered();
    place.leave();

    const [most = 0] = stdout
      .trim()
      .split('\n')
      .map(Number)
      .sort((a, b) => b - a);
    // It may use what it has declared, and about 48 MiB more are pages of Node's own file.
    assert.ok(most >= MEMORY_MIB, `${most} MiB`);
    assert.ok(most <= MEMORY_MIB + 128, `${most} MiB`);
  });
});
