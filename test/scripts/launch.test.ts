import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/** Replaces the command line: prints its arguments, then waits for a signal when asked to. */
const PROGRAM = `
const argv: string[] = process.argv.slice(2);
if (argv.includes('--wait')) {
  process.on('SIGTERM', () => process.exit(7));
  setInterval(() => {}, 1000);
}
if (argv.includes('--fail')) process.exitCode = 3;
process.stdout.write(JSON.stringify({ node: process.versions.node, argv, pid: process.pid }) + '\\n');
`;

const olderNode = findOlderNode();
const withoutNpm = join(tmpdir(), 'no-such-folder');

describe('the launcher', () => {
  let folder = '';
  const children: ChildProcess[] = [];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'launch-'));
    mkdirSync(join(folder, 'scripts/cli'), { recursive: true });
    mkdirSync(join(folder, 'node_modules'));
    copyFileSync('scripts/launch.mjs', join(folder, 'scripts/launch.mjs'));
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    writeFileSync(join(folder, 'scripts/defaas.ts'), PROGRAM);
  });

  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  const launch = (node: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) => {
    const child = spawn(node, [join(folder, 'scripts/launch.mjs'), ...args], {
      env: { PATH: process.env.PATH, ...env },
    });
    children.push(child);
    return child;
  };

  it('runs the command in its own process on Node 26, with the command’s arguments and exit code', async () => {
    const child = launch(process.execPath, ['defaas', 'list', '--json', '--fail']);

    const [said, [code]] = await Promise.all([readLine(child), once(child, 'exit')]);

    assert.deepEqual(said.argv, ['list', '--json', '--fail']);
    assert.equal(said.pid, child.pid);
    assert.equal(code, 3);
  });

  it('passes an unknown word to defaas as a command', async () => {
    const child = launch(process.execPath, ['list', '--json']);

    assert.deepEqual((await readLine(child)).argv, ['list', '--json']);
  });

  it('reads .env, which the environment overrides', async () => {
    writeFileSync(join(folder, '.env'), 'DEFAAS_PORT=1\nDEFAAS_HOME=from-file\n');
    writeFileSync(
      join(folder, 'scripts/defaas.ts'),
      'process.stdout.write(JSON.stringify({argv: [process.env.DEFAAS_PORT, process.env.DEFAAS_HOME]}) + "\\n");',
    );

    const child = launch(process.execPath, ['defaas'], { DEFAAS_PORT: '2' });

    assert.deepEqual((await readLine(child)).argv, ['2', 'from-file']);
  });

  it('reaches this machine without the proxy that the environment names', async () => {
    const asked: string[] = [];
    const answer = (name: string) =>
      createServer((request, response) => {
        asked.push(`${name} ${request.headers.host}`);
        response.end('ok');
      }).on('connect', (_request, socket) => {
        asked.push(`${name} CONNECT`);
        socket.destroy();
      });
    const [proxy, site] = [answer('proxy'), answer('site')];
    for (const server of [proxy, site]) await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port: proxyPort } = proxy.address() as AddressInfo; // it listens on TCP
    const { port } = site.address() as AddressInfo;
    const url = `http://127.0.0.1:${proxyPort}`;
    writeFileSync(
      join(folder, 'scripts/defaas.ts'),
      `import http from 'node:http';
      import { once } from 'node:events';
      import { execFileSync } from 'node:child_process';
      await (await fetch('http://127.0.0.1:${port}/')).text();
      await (await fetch('http://localhost:${port}/')).text().catch(() => {});
      const [answer] = await once(http.get('http://127.0.0.1:${port}/'), 'response');
      await once(answer.resume(), 'end');
      await fetch('http://elsewhere.example/').catch(() => {});
      const child = ['-e', 'fetch("http://127.0.0.1:${port}/").then((reply) => reply.text())'];
      execFileSync(process.execPath, child, { env: process.env });
      process.stdout.write(JSON.stringify({ argv: [process.env.NO_PROXY, process.env.no_proxy] }) + '\\n');`,
    );
    const ofProxy = { HTTP_PROXY: url, HTTPS_PROXY: url, NO_PROXY: 'a.example' };

    try {
      for (const [more, isForNode] of [
        [{ NODE_USE_ENV_PROXY: '1' }, true],
        [{ NODE_OPTIONS: '--use-env-proxy' }, true],
        [{}, false],
      ] as const) {
        asked.length = 0;
        const child = launch(process.execPath, ['defaas'], { ...ofProxy, ...more });
        const { argv } = await readLine(child);

        const list = 'a.example,localhost,127.0.0.1,::1,[::1]';
        assert.deepEqual(argv, [list, list]);
        assert.equal(asked.filter((one) => one.startsWith('site')).length, 4);
        // What is elsewhere still goes through it, where Node is told to.
        assert.equal(asked.filter((one) => one.startsWith('proxy')).length, isForNode ? 1 : 0);
      }
    } finally {
      for (const server of [proxy, site]) server.close();
    }
  });

  it('installs a checkout that is a workspace of another project', async () => {
    const checkout = join(folder, 'packages/checkout');
    const write = (path: string, content: object) => {
      mkdirSync(join(checkout, path, '..'), { recursive: true });
      writeFileSync(join(checkout, path), JSON.stringify(content));
    };
    const own = { name: 'checkout', version: '1.0.0', type: 'module' };
    const needs = { dependencies: { '@nomicfoundation/edr': 'file:edr' } };
    const edr = { name: '@nomicfoundation/edr', version: '1.0.0' };
    writeFileSync(join(folder, 'package.json'), '{"private":true,"workspaces":["packages/*"]}');
    write('package.json', { ...own, ...needs });
    write('edr/package.json', edr);
    write('edr/index.js', {});
    write('package-lock.json', {
      ...own,
      lockfileVersion: 3,
      requires: true,
      packages: {
        '': { ...own, ...needs },
        edr,
        'node_modules/@nomicfoundation/edr': { resolved: 'edr', link: true },
      },
    });
    mkdirSync(join(checkout, 'scripts'));
    copyFileSync('scripts/launch.mjs', join(checkout, 'scripts/launch.mjs'));
    writeFileSync(join(checkout, 'scripts/defaas.ts'), PROGRAM);

    // As `npm run defaas -w packages/checkout` does.
    const child = spawn(process.execPath, [join(checkout, 'scripts/launch.mjs'), 'list'], {
      env: {
        PATH: process.env.PATH,
        HOME: folder,
        npm_config_offline: 'true',
        npm_config_workspace: 'packages/checkout',
        npm_config_local_prefix: folder,
      },
    });
    children.push(child);
    const errors = child.stderr.setEncoding('utf8').toArray();
    const [code] = await once(child, 'exit');

    assert.equal(code, 0, (await errors).join(''));
    assert.ok(existsSync(join(checkout, 'node_modules/@nomicfoundation/edr/index.js')));
  });

  it('ends when its npm ends, however npm dies', async () => {
    const npm = spawn(
      process.execPath,
      [
        '-e',
        'require("node:child_process").spawn(process.execPath, process.argv.slice(1), { stdio: "inherit" })',
        join(folder, 'scripts/launch.mjs'),
        'defaas',
        '--wait',
      ],
      { env: { PATH: process.env.PATH, npm_lifecycle_event: 'defaas' } },
    );
    children.push(npm);
    const { pid } = await readLine(npm);

    npm.kill('SIGKILL');

    await gone(pid);
  });

  const onOlderNode = olderNode
    ? it
    : (title: string, _body: () => Promise<void>) =>
        it.skip(`${title} (no Node older than 26 on this machine)`);

  onOlderNode('runs the command under the Node 26 of the last install', async () => {
    stampNode(folder);
    const child = launch(olderNode ?? '', ['defaas', '--fail']);

    const [said, [code]] = await Promise.all([readLine(child), once(child, 'exit')]);

    assert.equal(said.node, process.versions.node);
    assert.equal(code, 3);
  });

  onOlderNode('passes SIGTERM on and waits for the command to end', async () => {
    stampNode(folder);
    const child = launch(olderNode ?? '', ['defaas', '--wait']);
    const { pid } = await readLine(child);

    child.kill('SIGTERM');

    assert.deepEqual(await once(child, 'exit'), [7, null]);
    await gone(pid);
  });

  onOlderNode('leaves no orphan when it is killed', async () => {
    stampNode(folder);
    const child = launch(olderNode ?? '', ['defaas', '--wait']);
    const { pid } = await readLine(child);

    child.kill('SIGKILL');

    await gone(pid);
  });

  onOlderNode('looks for another where the last install was by an older Node', async () => {
    stampNode(folder, olderNode);
    const child = launch(olderNode ?? '', ['defaas', 'list'], { PATH: withoutNpm });
    const errors = child.stderr.setEncoding('utf8').toArray();

    const [code] = await once(child, 'exit');

    assert.equal(code, 1);
    assert.match((await errors).join(''), /looking for Node 26.*^NODE_MISSING: /ms);
  });

  onOlderNode('reports NODE_MISSING when no Node 26 can be found', async () => {
    const child = launch(olderNode ?? '', ['defaas', 'list'], { PATH: withoutNpm });
    const errors = child.stderr.setEncoding('utf8').toArray();

    const [code] = await once(child, 'exit');

    assert.equal(code, 1);
    assert.match((await errors).join(''), /^NODE_MISSING: .*npx -y -p node@26/m);
  });
});

/** A Node older than 26, wherever the PATH has one. */
function findOlderNode(): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/bin'];
  return folders
    .map((path) => join(path, 'node'))
    .find((node) => {
      try {
        const version = execFileSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' });
        return Number.parseInt(version, 10) < 26;
      } catch {
        return false;
      }
    });
}

function stampNode(folder: string, node = process.execPath): void {
  const stamp = { node, lockHash: '' };
  writeFileSync(join(folder, 'node_modules/.launch-stamp.json'), JSON.stringify(stamp));
}

interface Said {
  readonly node: string;
  readonly argv: readonly (string | null)[];
  readonly pid: number;
}

/** The program's first line. */
async function readLine(child: ChildProcess): Promise<Said> {
  let text = '';
  if (child.stdout === null) throw new Error('the child has no stdout');
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    text += chunk;
    if (text.includes('\n')) break;
  }
  return JSON.parse(text);
}

/** Waits until the process has ended (an orphan that nobody reaps is a zombie: ended too). */
async function gone(pid: number): Promise<void> {
  const deadlineMs = Date.now() + 10_000;
  while (isRunning(pid)) {
    assert.ok(Date.now() < deadlineMs, `process ${pid} is still there`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
