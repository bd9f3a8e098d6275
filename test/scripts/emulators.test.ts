import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { zip } from '../../adapters/deployment/zip.ts';
import { createProviders } from '../../adapters/providers.ts';
import { emulatedClouds } from '../../broker/clouds.ts';
import { createRequest, createSpec } from '../adapters/conformance.ts';

describe('the emulators', () => {
  const home = mkdtempSync(join(tmpdir(), 'emulators-'));
  const file = join(home, 'emulators', 'emulators.json');

  after(() => rmSync(home, { recursive: true, force: true }));

  /**
   * Starts the emulators, waits for their output, does `work`, stops them and returns the output.
   */
  const runOnce = async (args: readonly string[] = [], work?: () => Promise<void>) => {
    const child = spawn(process.execPath, ['scripts/emulators.ts', ...args], {
      env: { ...process.env, DEFAAS_HOME: home },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    for await (const chunk of child.stdout.setEncoding('utf8')) {
      text += chunk;
      if (text.endsWith('}\n')) break;
    }
    const mode = statSync(file).mode & 0o777;
    try {
      await work?.();
    } finally {
      child.kill('SIGTERM');
    }
    const [code] = await once(child, 'exit');
    return { said: JSON.parse(text), mode, code };
  };

  it('start on their own, print their addresses, and write a file that a gateway reads', async () => {
    const { said, mode, code } = await runOnce();

    const clouds = emulatedClouds(file);

    assert.equal(code, 0);
    assert.equal(mode, 0o600);
    assert.equal(clouds['aws-lambda'].endpoint, said.aws);
    assert.equal(clouds['google-cloud-functions'].endpoint, said.google);
    assert.equal(clouds['azure-functions'].endpoint, said.azure);
    assert.equal(said.faults, undefined);
    assert.deepEqual(readdirSync(join(home, 'pids')), []);
  });

  it('keep ports and credentials, and serve fault switches when asked to', async () => {
    const before = JSON.parse(readFileSync(file, 'utf8'));

    const { said } = await runOnce(['--faults']);

    const now = JSON.parse(readFileSync(file, 'utf8'));
    assert.deepEqual(now.ports, before.ports);
    assert.deepEqual(now.aws, before.aws);
    assert.equal(now.azure.token, before.azure.token);
    assert.deepEqual(Object.keys(said.faults).sort(), ['aws', 'azure', 'google']);
    assert.ok(existsSync(join(home, 'emulators', 'aws')));
  });

  it('run functions, and still have them after a restart', async () => {
    const within = () => ({ signal: AbortSignal.timeout(30_000) });
    const open = () => [...createProviders(emulatedClouds(file), 'test').values()];
    const answers: string[] = [];

    await runOnce([], async () => {
      const providers = open();
      for (const provider of providers) {
        const spec = createSpec(provider.regions[0] ?? '', { name: 'df-kept' });
        await provider.deploy(spec, within());
        await provider.close();
      }
    });
    await runOnce([], async () => {
      for (const provider of open()) {
        const spec = createSpec(provider.regions[0] ?? '', { name: 'df-kept' });
        const { steps } = await provider.plan(spec, within());
        const deployment = await provider.deploy(spec, within());
        const result = await provider.invoke(deployment, createRequest(), within());
        await provider.close();
        const said = result.ok ? Buffer.from(result.body).toString() : result.error.message;
        answers.push(`${steps.map(({ action }) => action).join()}: ${said}`);
      }
    });

    assert.deepEqual(answers, ['keep: hello', 'keep: hello', 'keep: hello']);
  });

  it('serve the official SDK, as docs/providers.md shows it', async () => {
    const page = readFileSync('docs/providers.md', 'utf8');
    const [, example = ''] = /```js\n(import[^`]*LambdaClient[^`]*)```/.exec(page) ?? [];
    const folder = mkdtempSync(join(tmpdir(), 'example-'));
    symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
    symlinkSync(home, join(folder, '.defaas'));
    const code = Buffer.from('exports.handler = async () => ({ hello: "world" });');
    writeFileSync(join(folder, 'hello.zip'), zip(new Map([['index.js', code]])));
    let said = '';

    try {
      await runOnce([], async () => {
        const args = ['--input-type=module', '-e', example];
        said = (await promisify(execFile)(process.execPath, args, { cwd: folder })).stdout;
      });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }

    assert.equal(said, '{"hello":"world"}\n');
  });

  it('report wrong arguments in one line', async () => {
    const call = promisify(execFile)(process.execPath, ['scripts/emulators.ts', '--wrong']);

    await assert.rejects(call, { code: 2, stderr: /^USAGE: [^\n]*--wrong[^\n]*\n$/ });
  });
});
