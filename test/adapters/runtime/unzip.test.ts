// Zips that the emulators must refuse from an uploader.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Zippable, zipSync } from 'fflate';
import { UnzipError, unzip } from '../../../adapters/runtime/unzip.ts';

/** Offsets in an entry of the central directory (APPNOTE.TXT 4.3.12). */
const FLAGS_AT = 8;
const METHOD_AT = 10;
const PACKED_AT = 20;
const UNPACKED_AT = 24;
const OFFSET_AT = 42;

describe('unzip', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-unzip-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('writes the files of a zip into their folders', () => {
    unzip(zipSync({ a: { 'b.txt': Buffer.from('text') }, empty: {} }), dir, 1000);

    assert.equal(readFileSync(join(dir, 'a', 'b.txt'), 'utf8'), 'text');
  });

  const hello = Buffer.from('hello');
  const whole = zipOf({ 'a.txt': Buffer.from('a'.repeat(500)) });
  const spoilt = Buffer.from(whole);
  spoilt.writeUInt8(spoilt.readUInt8(40) ^ 0xff, 40);
  const stored = zipOf({ 'a.txt': [hello, { level: 0 }] });
  stored.write('jello', stored.indexOf('hello'));

  for (const [title, bytes, reason] of [
    ['text', Buffer.from('not a zip'), 'broken'],
    ['nothing', Buffer.alloc(0), 'broken'],
    ['half a zip', whole.subarray(0, whole.length >> 1), 'broken'],
    ['a changed byte in a deflated entry', spoilt, 'broken'],
    ['a changed byte in a stored entry', stored, 'broken'],
    ['an entry that claims a smaller size', claiming(whole, UNPACKED_AT, 5), 'broken'],
    ['an entry that claims a larger size', claiming(whole, UNPACKED_AT, 900), 'broken'],
    ['an entry that claims to end beyond the zip', claiming(whole, PACKED_AT, 900), 'broken'],
    ['an encrypted entry', claiming(whole, FLAGS_AT, 1), 'broken'],
    ['an entry at an offset beyond the zip', claiming(whole, OFFSET_AT, 1e6), 'broken'],
    ['an entry with an unknown compression method', claiming(whole, METHOD_AT, 12), 'broken'],
    ['a path that leads outside', zipSync({ '../out.txt': hello }), 'unsafe-path'],
    ['an absolute path', zipSync({ '/out.txt': hello }), 'unsafe-path'],
    ['a backslash', zipSync({ 'a\\b': hello }), 'unsafe-path'],
    ['a drive letter', zipSync({ 'C:out.txt': hello }), 'unsafe-path'],
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

  it('stops inflating an entry at the size that it claims', () => {
    const bomb = zipOf({ zeros: new Uint8Array(2 ** 20) });

    assert.throws(
      () => unzip(claiming(bomb, UNPACKED_AT, 5), dir, 1000),
      (error) => {
        assert.ok(error instanceof UnzipError && error.cause instanceof Error);
        // From zlib's `maxOutputLength`: without it, the whole entry is unpacked before the check.
        assert.ok('code' in error.cause);
        assert.equal(error.cause.code, 'ERR_BUFFER_TOO_LARGE');
        return true;
      },
    );
  });
});

function zipOf(files: Zippable): Buffer<ArrayBuffer> {
  return Buffer.from(zipSync(files));
}

/** A copy of the zip, with another number in the central directory's first entry. */
function claiming(zip: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(zip);
  const entry = copy.indexOf(Buffer.from([0x50, 0x4b, 1, 2]));
  if (at === FLAGS_AT || at === METHOD_AT) copy.writeUInt16LE(value, entry + at);
  else copy.writeUInt32LE(value, entry + at);
  return copy;
}
