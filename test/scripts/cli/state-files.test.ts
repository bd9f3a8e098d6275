// State files that are empty, cut off or of another form: whoever reads one names the file, what is
// wrong, and what to do.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import pino from 'pino';
import { openLocalFunctions } from '../../../adapters/local/functions.ts';
import { readState } from '../../../adapters/runtime/whole-file.ts';
import { createAlarms } from '../../../broker/alarms.ts';
import { emulatedClouds } from '../../../broker/clouds.ts';
import { ledgerFolder } from '../../../broker/ledger/folders.ts';
import { createStoppedPublishers } from '../../../broker/money/stopped-publishers.ts';
import { readEvidence } from '../../../scripts/cli/evidence-files.ts';

const MAIN = resolve(import.meta.dirname, '../../../scripts/defaas.ts');
/** Contents that a crash of the disk, or an editor, leaves. */
const BROKEN = {
  empty: '',
  blank: ' \n',
  'cut off': '{"gateway": "http://127.0',
  'of another form': '{"a": 1}',
  null: 'null',
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'defaas-state-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function put(name: string, text: string): string {
  const file = join(folder, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

/** `DEFAAS_HOME` is the folder. */
function defaas(...words: string[]): Promise<{ readonly code: number; readonly stderr: string }> {
  const env = { PATH: process.env.PATH, INIT_CWD: folder, DEFAAS_HOME: folder };
  return new Promise((done) => {
    execFile(process.execPath, [MAIN, ...words], { env, cwd: folder }, (error, _, stderr) => {
      done({ code: error ? Number(error.code) : 0, stderr });
    });
  });
}

describe('a broken state file', function () {
  this.timeout(60_000);

  const readers: Record<string, { readonly file: string; readonly read: () => unknown }> = {
    'the list of stopped publishers': {
      file: 'stopped.json',
      read: () =>
        createStoppedPublishers({
          file: join(folder, 'stopped.json'),
          stopMs: 0,
          alarms: createAlarms({ log: pino({ level: 'silent' }), nowMs: Date.now }),
          nowMs: Date.now,
        }),
    },
    'the first Billing': {
      file: 'gateway/billing.json',
      read: () => ledgerFolder({ home: folder }, `0x${'1'.repeat(40)}`),
    },
    'the emulated clouds': {
      file: 'emulators.json',
      read: () => emulatedClouds(join(folder, 'emulators.json')),
    },
    'a local function': {
      file: 'functions/hello.json',
      read: () => openLocalFunctions(folder),
    },
  };
  for (const [name, { file, read }] of Object.entries(readers)) {
    for (const [how, text] of Object.entries(BROKEN)) {
      it(`is named by the gateway, with what to do: ${name}, ${how}`, () => {
        const path = put(file, text);

        assert.throws(read, (error: Error & { code: string }) => {
          assert.equal(error.code, 'FILE_UNREADABLE');
          assert.ok(error.message.startsWith(`${path} `), error.message);
          assert.match(error.message, /it should hold .*: \S+/);
          return true;
        });
      });
    }
  }

  for (const [how, text] of Object.entries(BROKEN)) {
    it(`is named by the command line: the house, a key, evidence, ${how}`, async () => {
      const up = put('up.json', text);
      const key = put('keys/user.json', text);
      const found = await defaas('list');
      const signed = await defaas('list', '--gateway', 'http://127.0.0.1:1');

      assert.equal(found.code, 1);
      assert.match(found.stderr, /^HOUSE_DOWN: [^\n]+npm start\n$/);
      assert.ok(found.stderr.includes(`${up} `), found.stderr);
      assert.match(signed.stderr, /^KEY_MISSING: the key for account user is broken: [^\n]+\n$/);
      assert.ok(signed.stderr.includes(`${key} `), signed.stderr);
      const evidence = put('found.json', text);
      assert.throws(
        () => readEvidence(evidence),
        (error: Error & { code: string }) =>
          error.code === 'EVIDENCE_INVALID' && error.message.includes(evidence),
      );
    });
  }

  it('is named when it says which account to use', async () => {
    const chosen = put('account', '\n');

    const { code, stderr } = await defaas('list');

    assert.equal(code, 1);
    assert.match(stderr, /^FILE_UNREADABLE: [^\n]+ account use\n$/);
    assert.ok(stderr.includes(`${chosen} `));
  });

  it('is named when it is the store of the command line', async () => {
    const store = put('cli.sqlite', 'no database, '.repeat(100));
    put('keys/user.json', `{"address":"0x${'1'.repeat(40)}","privateKey":"0x${'22'.repeat(32)}"}`);

    const { code, stderr } = await defaas('list', '--gateway', 'http://127.0.0.1:1');

    assert.equal(code, 1);
    assert.match(
      stderr,
      /^FILE_UNREADABLE: [^\n]*cli\.sqlite cannot be opened [^\n]+restore[^\n]+\n$/,
    );
    assert.ok(stderr.includes(store));
  });

  it('never shows its content, which may be a key', () => {
    const path = put('key.json', `{"privateKey": "0x${'22'.repeat(32)}" oops`);
    const form = { what: 'a key', isWhole: () => true, remedy: 'restore it' };

    assert.throws(
      () => readState(path, form),
      (error: Error) => !error.message.includes('2222') && !error.message.includes('oops'),
    );
  });
});
