// What an emulator reads of a body that never ends: a function's answer over the Runtime API of
// Lambda, and the body of any message. Counted in bytes.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { createSandbox } from '../../../adapters/aws/emulator/instances/sandbox.ts';
import { readBody } from '../../../adapters/emulators/request-body.ts';
import { createChildren } from '../../../adapters/runtime/children.ts';

const MIB = 1024 * 1024;

/** Answers its first call itself, without end, and tells in the next one what it has sent. */
const ENDLESS = `
const { request } = require('node:http');
let sent = 0;
exports.handler = (event, { awsRequestId }) => event.tell ? Promise.resolve(sent) : new Promise((resolve) => {
  const url = 'http://' + process.env.AWS_LAMBDA_RUNTIME_API + '/2018-06-01/runtime/invocation/';
  const post = request(url + awsRequestId + '/response', { method: 'POST' });
  const piece = Buffer.alloc(65536, 'x');
  const more = () => {
    if (post.destroyed || sent > 256 * 1048576) return;
    sent += piece.length;
    if (post.write(piece)) setImmediate(more);
    else post.once('drain', more);
  };
  post.on('error', () => resolve('ended'));
  more();
});`;

describe('a body without end', () => {
  it('is read up to the limit, and no further', async () => {
    let bytes = 0;
    const endless = new Readable({
      read() {
        bytes += MIB;
        this.push(Buffer.alloc(MIB));
      },
    });

    const body = await readBody(endless, 4 * MIB);

    assert.equal(body, undefined);
    assert.ok(bytes < 8 * MIB, `${bytes} bytes`);
    endless.destroy();
  });

  it('of a Lambda function’s answer is too large, and its connection is ended', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'defaas-endless-'));
    writeFileSync(join(dir, 'index.js'), ENDLESS);
    const children = createChildren(join(dir, 'children'));
    const sandbox = await createSandbox({
      children,
      codeDir: dir,
      layersDir: dir,
      env: { LAMBDA_TASK_ROOT: dir, _HANDLER: 'index.handler' },
      memoryMiB: 512,
      timeoutMs: 60_000,
    });

    const call = (requestId: string, payload: string) => {
      const invokedArn = 'arn:aws:lambda:us-east-1:000000000000:function:f';
      return sandbox.invoke({ requestId, payload: Buffer.from(payload), invokedArn });
    };

    const first = await call('a-1', '{}');
    const second = await call('a-2', '{"tell":1}');

    assert.match(first.payload.toString(), /ResponseSizeTooLarge/);
    // Twice the limit of 6 MiB, and what was on its way in the buffers of the socket.
    assert.ok(Number(second.payload) < 32 * MIB, second.payload.toString());
    await sandbox.stop();
    await sandbox.exited;
    await children.close();
    rmSync(dir, { recursive: true, force: true });
  });
});
