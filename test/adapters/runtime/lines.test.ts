// The output of a process, cut into lines: what is told is bounded per call, in bytes and in lines.

import assert from 'node:assert/strict';
import { createLineReader } from '../../../adapters/runtime/lines.ts';
import { cutLines } from '../../../adapters/runtime/log-folder.ts';

describe('the lines of an output', () => {
  let told: string[];
  beforeEach(() => {
    told = [];
  });

  it('are told up to a number of lines in a call, and a last one says so', () => {
    const reader = createLineReader((text) => told.push(text));

    for (let n = 0; n < 20; n += 1) reader.read(Buffer.from('a\n'.repeat(1000)), 'stdout');
    const first = told.length;
    reader.restart();
    reader.read(Buffer.from('again\n'), 'stderr');

    assert.equal(first, 4097);
    assert.deepEqual(told.slice(-2), ['output above 4096 lines is cut off here', 'again']);
  });

  it('are told up to a number of bytes in a call, and a last one says so', () => {
    const reader = createLineReader((text) => told.push(text));

    for (let n = 0; n < 20; n += 1) reader.read(Buffer.alloc(64 * 1024, 'x'), 'stdout');

    assert.equal(told.at(-1), 'output above 262144 bytes is cut off here');
    assert.ok(told.length < 40, `${told.length} lines`);
  });

  it('of one piece are told up to a number, and the number of the others', () => {
    const read = cutLines((line) => told.push(line));

    read(Buffer.from('a\n'.repeat(32 * 1024)));

    assert.equal(told.length, 1025);
    assert.equal(told.at(-1), '31744 lines are left out here');
  });
});
