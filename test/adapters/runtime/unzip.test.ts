// What an uploaded zip may not do.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zipSync } from 'fflate';
import { UnzipError, unzip } from '../../../adapters/runtime/unzip.ts';

describe('unzip', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-unzip-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('writes files and folders', () => {
    unzip(zipSync({ a: { 'b.txt': Buffer.from('text') }, empty: {} }), dir, 1000);

    assert.equal(readFileSync(join(dir, 'a', 'b.txt'), 'utf8'), 'text');
  });

  const hello = Buffer.from('hello');
  const whole = Buffer.from(zipSync({ 'a.txt': Buffer.from('a'.repeat(500)) }));
  const spoilt = Buffer.from(whole);
  spoilt.writeUInt8(spoilt.readUInt8(40) ^ 0xff, 40);
  const lying = Buffer.from(whole);
  // The directory's word for the unpacked size, which is what the limit is checked with.
  lying.writeUInt32LE(5, lying.indexOf(Buffer.from([0x50, 0x4b, 1, 2])) + 24);

  for (const [title, bytes, reason] of [
    ['text', Buffer.from('not a zip'), 'broken'],
    ['nothing', Buffer.alloc(0), 'broken'],
    ['half a zip', whole.subarray(0, whole.length >> 1), 'broken'],
    ['a changed byte', spoilt, 'broken'],
    ['a size that is not true', lying, 'broken'],
    ['a path that leads outside', zipSync({ '../out.txt': hello }), 'unsafe-path'],
    ['an absolute path', zipSync({ '/out.txt': hello }), 'unsafe-path'],
    ['a backslash', zipSync({ 'a\\b': hello }), 'unsafe-path'],
    ['a link', zipSync({ link: [hello, { os: 3, attrs: 0o120777 << 16 }] }), 'unsafe-path'],
    ['more than the limit', zipSync({ zeros: new Uint8Array(5000) }), 'too-large'],
  ] as const) {
    it(`refuses ${title} and writes nothing`, () => {
      assert.throws(
        () => unzip(bytes, dir, 1000),
        (error) => {
          assert.ok(error instanceof UnzipError, String(error));
          assert.equal(error.reason, reason);
          return true;
        },
      );
      assert.deepEqual(readdirSync(dir), []);
    });
  }
});
