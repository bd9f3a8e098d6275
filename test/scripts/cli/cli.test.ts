// The command line by itself, as separate processes: arguments, exit codes, error lines, and
// commands that need no house.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const MAIN = resolve(import.meta.dirname, '../../../scripts/defaas.ts');

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'defaas-cli-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Typed in `folder`, with its home there too, and no environment but what is needed. */
function defaas(words: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const options = {
    env: { PATH: process.env.PATH, INIT_CWD: folder, DEFAAS_HOME: 'home', ...env },
    cwd: tmpdir(),
  };
  return new Promise((done) => {
    execFile(process.execPath, [MAIN, ...words], options, (error, stdout, stderr) => {
      const code = error ? Number(error.code) : 0;
      done({ code, stdout, stderr });
    });
  });
}

const at = (digit: string) => `0x${digit.repeat(40)}`;

function userKey(): void {
  mkdirSync(join(folder, 'home/keys'), { recursive: true });
  const key = { address: at('1'), privateKey: `0x${'22'.repeat(32)}` };
  writeFileSync(join(folder, 'home/keys/user.json'), JSON.stringify(key), { mode: 0o600 });
}

async function listen(answer: RequestListener) {
  const server = createServer(answer);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo; // it listens on TCP
  const close = () => {
    server.closeAllConnections();
    return new Promise((done) => server.close(done));
  };
  return { url: `http://127.0.0.1:${port}`, close };
}

function upFile(up: object): void {
  mkdirSync(join(folder, 'home'), { recursive: true });
  writeFileSync(join(folder, 'home/up.json'), JSON.stringify(up));
}

describe('the command line defaas', () => {
  it('prints only the version', async () => {
    const { version } = JSON.parse(readFileSync(resolve(MAIN, '../../package.json'), 'utf8'));

    const ended = await defaas(['--version']);

    assert.deepEqual(ended, { code: 0, stdout: `${version}\n`, stderr: '' });
  });

  it('answers wrong usage with one line and exit code 2', async () => {
    const lines = [
      ['sing'],
      ['invoke'],
      ['list', '--loud'],
      ['deposit', 'much'],
      ['deposit', '1.1234567'],
      ['deposit', '0'],
      ['withdraw', '0'],
      ['revoke', 'hello'],
      ['grant', 'hello', 'somebody'],
      ['sponsor', 'hello', '--daily', '1', '--stop'],
      ['estimate', 'hello', '--calls', '0'],
      ['receipts', '--limit', '-1'],
      ['init', 'thing', '--template', 'none-such'],
      ['invoke', 'hello', '--data', 'x', '--file', 'y'],
      ['invoke', 'hello', '--header', 'nonsense'],
    ];

    const ended = await Promise.all(
      lines.map(async (words) => ({ words, ...(await defaas(words)) })),
    );

    for (const { words, code, stdout, stderr } of ended) {
      assert.equal(code, 2, words.join(' '));
      assert.equal(stdout, '');
      assert.match(stderr, /^USAGE: [^\n]+\n$/);
    }
  });

  it('says that the house is down, and how to bring it up', async () => {
    const words = ['list', 'settle', 'deposit 1', 'invoke x'];

    const ended = await Promise.all(words.map((line) => defaas([...line.split(' '), '--json'])));

    for (const { code, stdout, stderr } of ended) {
      assert.equal(code, 1);
      assert.equal(stdout, '');
      assert.match(stderr, /^HOUSE_DOWN: [^\n]+npm start\n$/);
    }
  });

  it('recognises a house whose process is gone', async () => {
    const { pid } = await new Promise<{ pid: number }>((done) => {
      const child = execFile(process.execPath, ['-e', '']);
      child.once('exit', () => done({ pid: child.pid ?? 0 }));
    });
    upFile({ gateway: 'http://127.0.0.1:1', chain: { rpcUrl: '', contracts: {} }, pid });

    const { code, stderr } = await defaas(['balance']);

    assert.equal(code, 1);
    assert.match(stderr, /^HOUSE_DOWN: /);
  });

  it('names the account whose key is not here', async () => {
    const { code, stderr } = await defaas(['balance', '--account', 'nobody'], {
      DEFAAS_GATEWAY: 'http://127.0.0.1:1',
    });

    assert.equal(code, 1);
    assert.match(stderr, /^KEY_MISSING: .*nobody/);
  });

  it('names a gateway that does not answer, and a server that is no gateway', async () => {
    userKey();
    const rpc = await listen((_, reply) => reply.end('{"jsonrpc":"2.0","id":1,"result":"0x7a69"}'));
    const other = await listen((_, reply) => reply.end('hello'));
    const set = { id: 'x', contracts: {}, fromBlock: 0, token: at('6'), status: 'current' };
    const contracts = ['registry', 'identity', 'billing', 'disputes', 'beacon'].map(
      (name, i) => [name, at(`${i}`)] as const,
    );
    const sets = [{ ...set, contracts: Object.fromEntries(contracts) }];
    const file = join(folder, 'home/deployment.json');
    writeFileSync(file, JSON.stringify({ chainId: 31337, sets }));
    const words = ['balance', '--rpc', rpc.url];

    const foreign = await defaas([...words, '--gateway', other.url]);
    await other.close();
    const closed = await defaas(words, { DEFAAS_GATEWAY: other.url });
    await rpc.close();

    assert.match(closed.stderr, /^GATEWAY_UNREACHABLE: [^\n]*ECONNREFUSED[^\n]*\n$/);
    assert.match(foreign.stderr, /^GATEWAY_PROTOCOL: [^\n]+\n$/);
    assert.deepEqual([closed.code, foreign.code], [1, 1]);
  });

  it('demands an RPC of the user’s own and the contracts to trust', async () => {
    userKey();
    const rpc = await listen((_, reply) => reply.end('{"jsonrpc":"2.0","id":1,"result":"0x2105"}'));
    const env = { DEFAAS_GATEWAY: 'http://127.0.0.1:1' };
    writeFileSync(join(folder, 'bad.json'), '{"chainId":8453,"sets":[]}');

    const [noRpc, noFile, bad] = await Promise.all([
      defaas(['deposit', '1'], env),
      defaas(['deposit', '1', '--rpc', rpc.url], env),
      defaas(['deposit', '1', '--rpc', rpc.url, '--deployment', 'bad.json'], env),
    ]);
    await rpc.close();

    assert.match(noRpc.stderr, /^RPC_REQUIRED: [^\n]+--rpc[^\n]+\n$/);
    assert.match(noFile.stderr, /^DEPLOYMENT_MISSING: [^\n]+chain 8453[^\n]+--deployment\n$/);
    assert.match(bad.stderr, /^DEPLOYMENT_INVALID: [^\n]+bad\.json[^\n]+\n$/);
    assert.deepEqual([noRpc.code, noFile.code, bad.code], [1, 1, 1]);
  });

  it('checks everything with doctor, and reports the first fault', async () => {
    const { code, stdout, stderr } = await defaas(['doctor', '--json']);

    const { ok, checks } = JSON.parse(stdout);
    assert.equal(code, 1);
    assert.equal(ok, false);
    assert.deepEqual(
      checks.map(({ name }: { name: string }) => name),
      ['node', 'keys', 'house', 'gateway'],
    );
    assert.match(stderr, /^KEY_MISSING: /);
  });

  it('reports with doctor that others can read a key or the stored tokens', async () => {
    const files = ['home/keys/user.json', 'home/cli.sqlite', 'home/cli.sqlite-wal'];
    mkdirSync(join(folder, 'home/keys'), { recursive: true });
    const key = { address: `0x${'11'.repeat(20)}`, privateKey: `0x${'22'.repeat(32)}` };
    const found: string[] = [];
    for (const exposed of files) {
      for (const file of files) {
        writeFileSync(join(folder, file), JSON.stringify(key));
        chmodSync(join(folder, file), file === exposed ? 0o640 : 0o600);
      }
      const { stderr } = await defaas(['doctor']);
      found.push(stderr);
    }

    for (const [index, line] of found.entries()) {
      assert.match(line, /^KEY_EXPOSED: others can read [^\n]+ run chmod 600 on it\n$/);
      assert.ok(line.includes(`${join(folder, files[index] ?? '')},`), line);
    }
  });
});

describe('defaas init', () => {
  it('writes a folder with a function of the same name into the current folder', async () => {
    const { code, stdout } = await defaas(['init', 'greet', '--json']);

    const made = JSON.parse(stdout);
    assert.equal(code, 0);
    assert.equal(made.name, 'greet');
    assert.equal(made.folder, join(folder, 'greet'));
    assert.equal(JSON.parse(readFileSync(join(folder, 'greet/defaas.json'), 'utf8')).name, 'greet');
  });

  it('writes the thumbnail template too', async () => {
    const { code } = await defaas(['init', 'thumbnail', '--template', 'thumbnail']);

    assert.equal(code, 0);
    assert.ok(readFileSync(join(folder, 'thumbnail/handler.ts')).length > 0);
  });

  it('refuses a folder that is not empty, and a name that no function can have', async () => {
    mkdirSync(join(folder, 'full'));
    writeFileSync(join(folder, 'full/file'), '');

    const full = await defaas(['init', 'full']);
    const named = await defaas(['init', 'My Function']);

    assert.match(full.stderr, /^FOLDER_EXISTS: [^\n]+\n$/);
    assert.match(named.stderr, /^NAME_INVALID: [^\n]+\n$/);
    assert.deepEqual([full.code, named.code], [1, 1]);
  });
});

describe('defaas register', () => {
  const manifest = { name: 'broken', entry: 'handler.ts', access: 'public', payer: 'caller' };

  function write(files: Record<string, string>): void {
    mkdirSync(join(folder, 'broken'), { recursive: true });
    for (const [name, text] of Object.entries(files))
      writeFileSync(join(folder, 'broken', name), text);
  }

  it('reports what is wrong with a folder before it looks for a house', async () => {
    const good = JSON.stringify({ ...manifest, memoryMiB: 128, timeoutMs: 1000, tariff: tariff() });
    const cases: [code: string, files: Record<string, string>][] = [
      ['NOT_A_FUNCTION_FOLDER', { 'other.txt': '' }],
      ['ARTIFACT_MANIFEST', { 'defaas.json': '{"name": 1}' }],
      ['ARTIFACT_ENTRY', { 'defaas.json': good }],
      ['ARTIFACT_BUNDLE', { 'defaas.json': good, 'handler.ts': 'export default (' }],
      ['ARTIFACT_ENTRY', { 'defaas.json': good, 'handler.ts': 'export default class {}' }],
      ['ARTIFACT_LOAD', { 'defaas.json': good, 'handler.ts': 'throw 1; export default () => 1' }],
      [
        'ARTIFACT_IMPORT',
        { 'defaas.json': good, 'handler.ts': 'import "not-installed"; export default 1' },
      ],
    ];

    for (const [expected, files] of cases) {
      write(files);
      const { code, stdout, stderr } = await defaas(['register', 'broken']);
      assert.equal(code, 1);
      assert.equal(stdout, '');
      assert.match(stderr, new RegExp(`^${expected}: [^\\n]+\\n$`));
    }
  });

  it('demands a house for a valid folder', async () => {
    await defaas(['init', 'hello']);

    const { code, stderr } = await defaas(['register', 'hello']);

    assert.equal(code, 1);
    assert.match(stderr, /^HOUSE_DOWN: /);
  });
});

function tariff() {
  return { perCall: 20, perGiBSecond: 40, maxPrice: 100000, roundMs: 1 };
}
