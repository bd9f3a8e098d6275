// docs/emulators.md lists what the emulators do with each setting, as the code has it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { ROUTES as ARM_ROUTES } from '../../adapters/azure/emulator/arm.ts';
import { NOT_EMULATED, ROUTES } from '../../adapters/google/emulator/operations/operations.ts';
import { TABLES } from './emulator-tables.ts';

const PAGE = readFileSync('docs/emulators.md', 'utf8');

describe('docs/emulators.md', () => {
  for (const [name, text] of Object.entries(TABLES)) {
    it(`has the table ${name} as the code has it`, () => {
      assert.equal(between(name), text);
    });
  }

  it('names each operation of Google, supported or refused', () => {
    for (const { operation } of ROUTES)
      assert.ok(between('google-supported').includes(`\`${operation}\``), operation);
    for (const operation of NOT_EMULATED)
      assert.ok(between('google-refused').includes(`\`${operation}\``), operation);
  });

  it('names each operation of Azure', () => {
    for (const { operation } of ARM_ROUTES)
      assert.ok(between('azure-supported').includes(`\`${operation}\``), operation);
  });
});

function between(name: string): string {
  const [, text = ''] = PAGE.split(new RegExp(`<!-- /?${name} -->`));
  return text.trim();
}
