// Processes that run a publisher's code: what they see, what limits them, and that they leave
// nothing behind.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Children, createChildren } from '../../../adapters/runtime/children.ts';
import {
  BURST_BYTES,
  BYTES_PER_SECOND,
  LEAST_READ_BYTES,
} from '../../../adapters/runtime/paced.ts';

describe('child processes', () => {
  let dir: string;
  let children: Children;
  let output: Buffer[];
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-children-'));
    children = createChildren(join(dir, 'records'));
    output = [];
  });
  afterEach(async () => {
    await children.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const start = (code: string, memoryMiB = 256) =>
    children.start({
      args: ['-e', code],
      cwd: dir,
      env: { GIVEN: 'yes' },
      memoryMiB,
      onOutput: (chunk) => output.push(chunk),
    });

  it('see nothing of the gateway’s environment', async () => {
    const exit = await start('console.log(JSON.stringify(process.env))').exited;

    assert.deepEqual(exit, { code: 0, signal: null, isOverMemory: false });
    assert.deepEqual(JSON.parse(Buffer.concat(output).toString()), { GIVEN: 'yes' });
  });

  it('are killed above their memory limit, which includes buffers', async function () {
    if (!existsSync('/proc/self/statm')) this.skip();
    const exit = await start('const a = []; for (;;) a.push(Buffer.alloc(1e6, 1))', 128).exited;

    assert.equal(exit.isOverMemory, true);
  });

  it('do not run while frozen', async () => {
    const child = start('setInterval(() => console.log(1), 5)');
    await until(() => output.length > 0);

    child.freeze();
    await nextTicks(20);
    const seen = output.length;
    await nextTicks(100);
    const frozen = output.length;
    child.thaw();
    await until(() => output.length > frozen);

    assert.equal(frozen, seen);
  });

  for (const bytes of [64 * 1024, 1]) {
    it(`that write without end, ${bytes} bytes at a time, are read at a bounded pace`, async () => {
      const beganAtMs = performance.now();
      const child = start(`const bytes = Buffer.alloc(${bytes}, 'x');
        for (;;) for (const to of [1, 2]) require('node:fs').writeSync(to, bytes);`);
      const counted = () =>
        output.reduce((sum, chunk) => sum + Math.max(chunk.length, LEAST_READ_BYTES), 0);
      await until(() => counted() > BURST_BYTES + 1024 * 1024);

      const earned = ((performance.now() - beganAtMs) / 1000) * BYTES_PER_SECOND;
      // Two pipes, each with a piece in the stream and one on its way.
      const most = BURST_BYTES + earned + 4 * 64 * 1024;

      assert.ok(counted() <= most, `${counted()} bytes instead of ${most}`);
      child.kill();
      await child.exited;
    });
  }

  it('are read to the end when they have exited, above the pace too', async () => {
    const bytes = BURST_BYTES + 256 * 1024;
    await start(`require('node:fs').writeSync(1, Buffer.alloc(${bytes}, 'x'))`).exited;

    assert.equal(Buffer.concat(output).length, bytes);
  });

  it('end together with the processes that they started', async () => {
    const child = start(`
      const { spawn } = require('node:child_process');
      const sub = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
      console.log(sub.pid);
      process.exit(0);`);
    await child.exited;

    const pid = Number(Buffer.concat(output).toString());
    await until(() => !isRunning(pid));
  });

  it('that a killed provider left are ended by its next start, and no other process is', async () => {
    const child = start('setInterval(() => {}, 1000)');
    const records = join(dir, 'records');
    // A record of a pid that now belongs to another program: ourselves.
    writeFileSync(join(records, String(process.pid)), '1');

    const next = createChildren(records);

    const exit = await child.exited;
    assert.equal(exit.signal, 'SIGKILL');
    await until(() => readdirSync(records).length === 0);
    await next.close();
  });
});

function nextTicks(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Polls until the condition holds; fails after 10 s. */
async function until(isSo: () => boolean): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!isSo()) {
    assert.ok(performance.now() < endMs, 'not so within 10 s');
    await nextTicks(5);
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    // No such process.
    return false;
  }
}
