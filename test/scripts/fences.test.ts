import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

/**
 * A file of the tree, a line of it, and the rule that must refuse it; no rule: the line is allowed.
 */
const LINES: readonly (readonly [path: string, line: string, rule?: string])[] = [
  ['contracts/chain.ts', "import '../adapters/zip.ts';", 'noRestrictedImports'],
  ['contracts/libraries/tariffs.ts', "import '../../broker/errors.ts';", 'noRestrictedImports'],
  ['contracts/keystore.ts', "import 'node:fs/promises';", 'noRestrictedImports'],
  ['contracts/signatures.ts', "import 'secp256k1';", 'noRestrictedImports'],
  ['contracts/deploy.ts', "import 'ethers'; import './libraries/keccak.ts';"],
  ['ipfs/bundle.ts', "import '../contracts/chain.ts';", 'noRestrictedImports'],
  ['ipfs/car.ts', "import 'ethers';", 'noRestrictedImports'],
  ['ipfs/node.ts', "import 'helia'; import '@libp2p/gossipsub'; import 'node:fs';"],
  ['adapters/local/control.ts', "import '@aws-sdk/client-lambda';", 'noRestrictedImports'],
  ['adapters/azure/sdk.ts', "import '@aws-sdk/client-lambda';", 'noRestrictedImports'],
  ['adapters/google/tokens.ts', "import '@azure/identity';", 'noRestrictedImports'],
  ['adapters/deployment/zip.ts', "import '../ipfs/car.ts';", 'noRestrictedImports'],
  ['adapters/aws/control.ts', "import '@aws-sdk/client-lambda';"],
  ['adapters/google/logs.ts', "import 'undici';", 'noRestrictedImports'],
  ['adapters/http/send.ts', "import 'undici';"],
  ['adapters/http/dispatchers.ts', "import '@aws-sdk/client-lambda';", 'noRestrictedImports'],
  ['broker/alarms.ts', "import 'undici';", 'noRestrictedImports'],
  ['adapters/aws/emulator/emulator.ts', "import '../control.ts';", 'noRestrictedImports'],
  ['adapters/aws/emulator/signature.ts', "import '@smithy/signature-v4';"],
  ['adapters/aws/emulator/front.ts', "import '@aws-sdk/client-lambda';", 'noRestrictedImports'],
  [
    'adapters/google/emulator/instances/front.ts',
    "import '@smithy/signature-v4';",
    'noRestrictedImports',
  ],
  ['adapters/emulators/faults.ts', "import '@aws-sdk/client-lambda';", 'noRestrictedImports'],
  ['adapters/azure/emulator/emulator.ts', "import '../../runtime/pool.ts';"],
  ['broker/gateway.ts', "import 'helia';", 'noRestrictedImports'],
  ['broker/main.ts', "import 'fastify';", 'noRestrictedImports'],
  ['broker/invocation/attempt.ts', "import '@aws-sdk/client-lambda';", 'noRestrictedImports'],
  ['broker/money/hold.ts', "import { id } from 'ethers'; id('');", 'noRestrictedImports'],
  ['broker/events/gossip.ts', "import '@libp2p/gossipsub';", 'noRestrictedImports'],
  ['broker/settlement/settle.ts', "import '../../scripts/up.ts';", 'noRestrictedImports'],
  ['broker/routes/lanes.ts', "import 'fastify'; import '../errors.ts';"],
  ['broker/client/audit.ts', "import '../errors.ts';", 'noRestrictedImports'],
  ['broker/client/lane.ts', "import 'node:crypto';", 'noRestrictedImports'],
  ['broker/client/batch.ts', "import '@ipld/dag-cbor'; import '../../contracts/chain.ts';"],
  ['broker/dashboard/page.ts', "import '../gateway.ts';", 'noRestrictedImports'],
  ['broker/dashboard/bills.ts', "import '../client/audit.ts';"],
  ['scripts/up.ts', "import '@azure/identity';", 'noRestrictedImports'],
  ['scripts/cli/list.ts', "import 'ethers'; import '../../broker/client/audit.ts';"],
  ['scripts/bench/http.ts', "import 'fastify'; console.log(process.env.PATH);"],
  ['broker/server.ts', 'console.log(1);', 'noConsole'],
  ['broker/ledger/sqlite.ts', 'export default process.env.PATH;', 'noProcessEnv'],
  ['broker/config.ts', 'export const path = process.env.PATH;'],
  [
    'broker/invocation/a.ts',
    "import { b } from './b.ts'; export const a = () => b;",
    'noImportCycles',
  ],
  [
    'broker/invocation/b.ts',
    "import { a } from './a.ts'; export const b = () => a;",
    'noImportCycles',
  ],
];

describe('import fences', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fences-'));
  const refused = new Map<string, string[]>();

  before(() => {
    copyFileSync('biome.json', join(folder, 'biome.json'));
    for (const [path, line] of LINES) {
      mkdirSync(join(folder, dirname(path)), { recursive: true });
      writeFileSync(join(folder, path), `${line}\n`);
    }
    const biome = resolve('node_modules/@biomejs/biome/bin/biome');
    const args = [biome, 'lint', '--reporter=github', '--max-diagnostics=none', '.'];
    const { stdout } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
    for (const [, rule = '', file = ''] of stdout.matchAll(
      /title=lint\/\w+\/(\w+),file=([^,]+)/g,
    )) {
      const path = LINES.find(([name]) => file.endsWith(name))?.[0] ?? file;
      refused.set(path, [...(refused.get(path) ?? []), rule]);
    }
  });

  after(() => rmSync(folder, { recursive: true }));

  for (const [path, line, rule] of LINES) {
    it(`${rule === undefined ? 'allows' : 'refuses'} in ${path}: ${line}`, () => {
      assert.deepEqual(new Set(refused.get(path)), new Set(rule === undefined ? [] : [rule]));
    });
  }
});
