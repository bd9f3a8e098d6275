import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
