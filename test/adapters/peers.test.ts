// What runs under Node runs here: handlers that use well-known npm packages are bundled, published
// and called on `local`, and on every emulated cloud where LONG_TESTS is set. Their packages have a
// lockfile of their own in `test/peers/`, and are installed on the first run.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createLocal } from '../../adapters/local/provider.ts';
import type { Provider } from '../../adapters/provider.ts';
import { ArtifactError } from '../../ipfs/artifact-error.ts';
import { bundle } from '../../ipfs/bundle.ts';
import { filesToCar } from '../../ipfs/car.ts';
import { createRequest } from './conformance.ts';
import { openProviders } from './fixtures/emulated-providers.ts';
import { PEERS, type Peer } from './peers.ts';

const PACKAGES = fileURLToPath(new URL('../peers', import.meta.url));
const INSTALL_MS = 10 * 60_000;
const CALL_MS = 120_000;
const isLong = process.env.LONG_TESTS !== undefined;
const within = () => ({ signal: AbortSignal.timeout(CALL_MS) });

describe('handlers with well-known packages', function () {
  this.timeout(CALL_MS * 5);
  let dir: string;
  let providers: readonly Provider[] = [];
  const closing: (() => Promise<void>)[] = [];

  before(async function () {
    this.timeout(INSTALL_MS);
    const fault = install();
    if (fault !== undefined) {
      console.log(`      the packages of test/peers are not installed: ${fault}`);
      this.skip();
    }
    dir = mkdtempSync(join(tmpdir(), 'defaas-peers-'));
    const local = { dir: join(dir, 'local'), gateway: '0x00', trustedPublishers: 'any' } as const;
    providers = isLong ? await openProviders(dir, closing) : [createLocal(local)];
  });
  after(async () => {
    await Promise.all(providers.map((provider) => provider.close()));
    await Promise.all(closing.map((close) => close()));
    if (dir) rmSync(dir, { recursive: true, force: true });
  });

  for (const [index, peer] of PEERS.entries()) {
    if (peer.refused !== undefined) {
      it(`refuses ${peer.name}, and names it`, async () => {
        const error = await bundle(await folderOf(peer, index)).catch((reason) => reason);

        assert.ok(error instanceof ArtifactError, String(error));
        assert.equal(error.code, 'ARTIFACT_NATIVE_ADDON');
        assert.ok(error.message.includes(`native addon ${peer.refused} cannot`), error.message);
      });
    } else {
      it(`runs ${peer.name}`, async () => {
        const { files, manifest } = await bundle(await folderOf(peer, index));
        const { cid } = await filesToCar(files);

        const answers = await Promise.all(
          providers.map(async (provider) => {
            const spec = {
              ...{ name: `df-peer-${index}`, region: provider.regions[0] ?? '' },
              ...{ files, artifactCid: cid, functionName: '0xaa/peer', version: 1 },
              ...{ memoryMiB: 512, timeoutMs: 60_000, env: manifest.env, secrets: {} },
            };
            const deployment = await provider.deploy(spec, within());
            const result = await provider.invoke(deployment, createRequest({}), within());
            await provider.remove(deployment, within());
            assert.ok(result.ok, `${provider.name}: ${JSON.stringify(result)}`);
            return [provider.name, JSON.parse(Buffer.from(result.body).toString())];
          }),
        );

        const expected = providers.map(({ name }) => [name, peer.answer]);
        assert.deepEqual(answers, expected);
      });
    }
  }

  it('are at least 50', () => {
    assert.ok(PEERS.length >= 50);
  });

  async function folderOf({ source }: Peer, index: number): Promise<string> {
    const folder = join(dir, `peer-${index}`);
    await mkdir(folder);
    await writeFile(join(folder, 'defaas.json'), '{"name":"peer","entry":"handler.mjs"}');
    await writeFile(
      join(folder, 'handler.mjs'),
      `${source}\nexport default async () => Response.json(answer);\n`,
    );
    await symlink(join(PACKAGES, 'node_modules'), join(folder, 'node_modules'), 'junction');
    return folder;
  }
});

/** Installs what the lockfile names, unless it is there. @returns why that failed */
function install(): string | undefined {
  const lock = readFileSync(join(PACKAGES, 'package-lock.json'));
  const hash = createHash('sha256').update(lock).digest('hex');
  const stamp = join(PACKAGES, 'node_modules', '.installed');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return undefined;
  const { status, stderr, error } = spawnSync(
    'npm',
    ['ci', '--ignore-scripts', '--omit=peer', '--no-audit', '--no-fund'],
    { cwd: PACKAGES, encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] },
  );
  if (status !== 0) return error?.message ?? stderr.trim().split('\n').at(-1) ?? `${status}`;
  writeFileSync(stamp, hash);
  return undefined;
}
