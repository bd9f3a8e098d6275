// `defaas dev` as a process of its own: serves a folder, follows its changes, says what is wrong
// and where, ends cleanly.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const MAIN = resolve(import.meta.dirname, '../../../scripts/defaas.ts');
const LIMIT_MS = 30_000;

interface Running {
  readonly child: ChildProcess;
  readonly url: string;
  /** Its output so far. */
  said(): string;
  /** Waits until it says so, in what comes after `from`. */
  says(what: RegExp, from?: number): Promise<void>;
  end(): Promise<{ readonly code: number | null; readonly stdout: string }>;
}

describe('defaas dev', () => {
  let folder: string;
  let scratch: string;
  let running: Running | undefined;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'defaas-dev-test-'));
    scratch = join(folder, '.scratch');
    mkdirSync(scratch);
  });
  afterEach(async () => {
    await running?.end();
    running = undefined;
    rmSync(folder, { recursive: true, force: true });
  });

  const write = (files: Record<string, string>) => {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(resolve(folder, path, '..'), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
  };
  const start = async (...words: string[]) => {
    running = await startDev(folder, scratch, words);
    return running;
  };

  it('serves the function, and its changes after each save', async () => {
    write({
      'defaas.json': JSON.stringify({ name: 'fn', entry: 'handler.ts', env: { WORD: 'one' } }),
      'handler.ts': `import { word } from './deep/word.ts';
export default async (request: Request, context: { provider: string }) => {
  const headers = new Headers({ 'x-provider': context.provider });
  headers.append('set-cookie', 'a=1');
  headers.append('set-cookie', 'b=2');
  const { pathname, search } = new URL(request.url);
  const body = [word, process.env.WORD, request.method, pathname, search, await request.text()];
  return new Response(body.join(' '), { status: 201, headers });
};
`,
      'deep/word.ts': `export const word: string = 'first';\n`,
    });
    const { url, says, said } = await start();

    const reply = await fetch(`${url}/a%20b?c=d`, { method: 'POST', body: 'sent' });
    const before = said().length;
    write({ 'deep/word.ts': `export const word: string = 'second';\n` });
    await says(/loaded in \d+ ms/, before);
    const again = await fetch(url);

    assert.equal(reply.status, 201);
    assert.equal(await reply.text(), 'first one POST /a%20b ?c=d sent');
    assert.equal(reply.headers.get('x-provider'), 'local');
    assert.deepEqual(reply.headers.getSetCookie(), ['a=1', 'b=2']);
    assert.equal(await again.text(), 'second one GET /  ');
    assert.match(said(), /POST \/a%20b\?c=d 201 \d+ ms/);
  });

  it('reports a build error with file and line, and continues when it is fixed', async () => {
    write({
      'defaas.json': JSON.stringify({ name: 'fn', entry: 'handler.ts' }),
      'handler.ts': `\n\nimport { gone } from './gone.ts';\nexport default () => gone;\n`,
    });
    const { url, says, said } = await start();

    const broken = await fetch(url);
    write({ 'gone.ts': `export const gone = 'here';\n` });
    await says(/loaded in/);
    const mended = await fetch(url);

    assert.match(said(), /^ARTIFACT_IMPORT: [^\n]*handler\.ts:3/m);
    assert.equal(broken.status, 500);
    assert.equal((await broken.json()).code, 'ARTIFACT_IMPORT');
    assert.equal(await mended.json(), 'here');
  });

  it('shows what the function logs, and the source file and line of what it throws', async () => {
    write({
      'defaas.json': JSON.stringify({ name: 'fn', entry: 'src/handler.ts' }),
      'src/handler.ts': `interface Long {
  readonly gone: 'from the bundle';
}
import { fail } from './fail.ts';
export default (request: Request): Long | string => {
  console.log('looking at', new URL(request.url).pathname);
  return fail();
};
`,
      'src/fail.ts': `export function fail(): never {\n  throw new RangeError('on purpose');\n}\n`,
    });
    const { url, says } = await start();

    const reply = await fetch(`${url}/here`);
    await says(/looking at \/here/);
    await says(/RangeError: on purpose/);
    await says(/src\/fail\.ts:2:/);

    assert.equal(reply.status, 502);
    const { code, detail } = await reply.json();
    assert.deepEqual([code, detail], ['FUNCTION_FAILED', 'RangeError: on purpose']);
  });

  it('passes the function its secrets from the environment, and no other variable', async () => {
    write({
      'defaas.json': JSON.stringify({ name: 'fn', entry: 'handler.js', secrets: ['API_TOKEN'] }),
      'handler.js': 'export default () => process.env;',
    });
    const { url } = await start();

    const env = await fetch(url).then((reply) => reply.json());

    assert.equal(env.API_TOKEN, 'from the environment');
    assert.equal(env.OTHER_OF_THE_HOST, undefined);
  });

  it('ends cleanly on SIGINT and leaves nothing behind', async () => {
    write({
      'defaas.json': JSON.stringify({ name: 'fn', entry: 'handler.js' }),
      'handler.js': `export default () => 'ok';`,
    });
    const { url, end } = await start('--port', '0');
    await fetch(url);
    await fetch(url);

    const { code } = await end();

    assert.equal(code, 0);
    assert.deepEqual(readdirSync(scratch), []);
    await assert.rejects(fetch(url));
  });

  it('refuses a folder without a function, an invalid port, and a port that is taken', async () => {
    write({
      'defaas.json': JSON.stringify({ name: 'fn', entry: 'handler.js' }),
      'handler.js': `export default () => 'ok';`,
    });
    const { url } = await start();
    const { port } = new URL(url);

    const lines = await Promise.all([
      refusal(scratch, ['dev', 'nowhere']),
      refusal(scratch, ['dev', folder, '--port', 'http']),
      refusal(scratch, ['dev', folder, '--port', port]),
    ]);

    assert.deepEqual(
      lines.map(({ code, line }) => [code, line.trim().split('\n').at(-1)?.split(':')[0]]),
      [
        [1, 'NOT_A_FUNCTION_FOLDER'],
        [2, 'USAGE'],
        [1, 'PORT_TAKEN'],
      ],
    );
  });
});

async function startDev(folder: string, scratch: string, words: string[]): Promise<Running> {
  const child = spawn(process.execPath, [MAIN, 'dev', folder, ...words], {
    env: {
      PATH: process.env.PATH,
      TMPDIR: scratch,
      DEFAAS_HOME: join(scratch, 'home'),
      API_TOKEN: 'from the environment',
      OTHER_OF_THE_HOST: 'x',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  let stdout = '';
  child.stderr.on('data', (chunk) => {
    text += chunk;
  });
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  const says = async (what: RegExp, from = 0) => {
    const signal = AbortSignal.timeout(LIMIT_MS);
    while (!what.test(text.slice(from))) {
      if (child.exitCode !== null) assert.fail(`it ended and said: ${text}`);
      await once(child.stderr, 'data', { signal }).catch(() => assert.fail(`${what}: ${text}`));
    }
  };
  await says(/ is at http:\S+;/);
  const url = /is at (http:\S+);/.exec(text)?.[1] ?? '';
  return {
    child,
    url,
    said: () => text,
    says,
    async end() {
      if (child.exitCode === null) {
        child.kill('SIGINT');
        await once(child, 'close');
      }
      return { code: child.exitCode, stdout };
    },
  };
}

async function refusal(
  scratch: string,
  words: string[],
): Promise<{ readonly code: number; readonly line: string }> {
  const child = spawn(process.execPath, [MAIN, ...words], {
    env: { PATH: process.env.PATH, TMPDIR: scratch, DEFAAS_HOME: join(scratch, 'home') },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let line = '';
  child.stderr.on('data', (chunk) => {
    line += chunk;
  });
  const [code] = await once(child, 'close');
  return { code, line };
}
