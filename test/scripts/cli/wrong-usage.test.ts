// Every option and argument of every command with a wrong value: one line, exit code 2, and no
// request to anybody.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../../..');
const MAIN = join(ROOT, 'scripts/defaas.ts');
const ADDRESS = `0x${'1'.repeat(40)}`;
/** The text that declares all commands. */
const declared = (): string =>
  globSync([MAIN, join(ROOT, 'scripts/commands/*.ts')])
    .map((path) => readFileSync(path, 'utf8'))
    .join('');
/** Processes at once. */
const PARALLEL = 4;

/** The words of a command, its wrong one among them. Quoted words may have spaces. */
const WRONG: Readonly<Record<string, readonly string[][]>> = {
  '(any command)': [
    ['list', '--gateway', 'localhost:8080'],
    ['list', '--gateway', ''],
    ['list', '--gateway', 'ftp://127.0.0.1:1'],
    ['list', '--gateway', 'http://'],
    ['watch', '--once', '--gateway', 'localhost:8080'],
    ['list', '--rpc', 'localhost:8545'],
    ['payouts', '--rpc', 'ws://127.0.0.1:1'],
    ['list', '--rpc', ''],
    ['list', '--account', '../user'],
    ['list', '--account', ''],
    ['list', '--set', ''],
    ['list', '--set', 'a b'],
    ['list', '--deployment', ''],
    ['list', 'more'],
    ['list', '--json', '--loud'],
  ],
  init: [
    ['init', 'a', '--template', 'none'],
    ['init', ''],
  ],
  dev: [
    ['dev', '.', '--port', '65536'],
    ['dev', '.', '--port', 'x'],
    ['dev', '.', '--port', ''],
  ],
  deploy: [
    ['deploy', 'no name'],
    ['deploy', ''],
    ['deploy', 'hello', '--to', 'moon'],
    ['deploy', 'hello', '--to', ''],
  ],
  diff: [
    ['diff', 'no name'],
    ['diff', 'hello', '--to', 'moon'],
  ],
  rollback: [
    ['rollback', 'no name'],
    ['rollback', 'hello', '--to', '0'],
    ['rollback', 'hello', '--to', 'last'],
  ],
  versions: [['versions', 'no name']],
  deprecate: [
    ['deprecate', 'hello'],
    ['deprecate', 'hello@1', 'hello@latest'],
    ['deprecate', 'no name@1'],
  ],
  destroy: [
    ['destroy', 'no name'],
    ['destroy', 'hello', '--from', 'moon'],
  ],
  logs: [
    ['logs', 'no name'],
    ['logs'],
    ['logs', 'hello', '--receipt', 'x'],
    ['logs', '--receipt', `0x${'1'.repeat(64)}`, '--follow'],
    ['logs', 'hello', '--since', 'yesterday'],
    ['logs', 'hello', '--since', ''],
    ['logs', 'hello', '--limit', '0'],
    ['logs', 'hello', '--limit', '1e3'],
  ],
  secret: [
    ['secret', 'show', 'hello'],
    ['secret', 'set', 'hello'],
    ['secret', 'list', 'hello', 'KEY'],
    ['secret', 'list', 'no name'],
    ['secret', 'unset', 'no name', 'KEY'],
    ['secret', 'unset', 'hello', 'no key'],
    ['secret', 'set', 'hello', 'no key', '--value-file', MAIN],
    ['secret', 'list', 'hello', '--value-file', MAIN],
  ],
  open: [
    ['open', 'no name'],
    ['open', ''],
  ],
  invoke: [
    ['invoke', 'no name'],
    ['invoke', 'hello', '--header', 'nonsense'],
    ['invoke', 'hello', '--header', 'X-A: é€'],
    ['invoke', 'hello', '--header', 'X-A: a\nX-B: b'],
    ['invoke', 'hello', '--header', 'X(A): b'],
    ['invoke', 'hello', '--header', 'Content-Length: 5'],
    ['invoke', 'hello', '--header', 'Transfer-Encoding: chunked'],
    ['invoke', 'hello', '--header', 'Connection: close'],
    ['invoke', 'hello', '--header', 'Host: example.org'],
    ['invoke', 'hello', '--header', 'Expect: 100-continue'],
    ['invoke', 'hello', '--header', 'Upgrade: websocket'],
    ['invoke', 'hello', '--header', 'Keep-Alive: 5'],
    ['invoke', 'hello', '--header', 'Authorization: Bearer x'],
    ['invoke', 'hello', '--header', 'DPoP: x'],
    ['invoke', 'hello', '--header', 'Idempotency-Key: '],
    ['invoke', 'hello', '--header', 'Idempotency-Key: a', '--header', 'Idempotency-Key: b'],
    ['invoke', 'hello', '--method', 'GET', '--data', 'x'],
    ['invoke', 'hello', '--method', 'head', '--data', 'x'],
    ['invoke', 'hello', '--method', 'GE T'],
    ['invoke', 'hello', '--method', ''],
    ['invoke', 'hello', '--method', 'TRACE'],
    ['invoke', 'hello', '--method', 'CONNECT'],
    ['invoke', 'hello', '--path', '../../../oauth/token'],
    ['invoke', 'hello', '--path', '/a/%2e%2e/%2e%2e/b'],
    ['invoke', 'hello', '--path', '/a#b'],
    ['invoke', 'hello', '--query', 'a#b'],
    ['invoke', 'hello', '--data', 'x', '--file', MAIN],
    ['invoke', 'hello', '--max', 'much'],
    ['invoke', 'hello', '--max', '-1'],
    ['invoke', 'hello', '--route', 'moon'],
    ['invoke', 'hello', '--route', ''],
    ['invoke', 'hello', '--route', 'not:'],
    ['invoke', 'hello', '--route', 'cheapest,fastest'],
    ['invoke', 'hello', '--out', ''],
    ['invoke', 'hello', '--file', ''],
  ],
  deposit: [
    ['deposit', 'much'],
    ['deposit', '-1'],
    ['deposit', '1.5', '--units'],
    ['deposit', '1', '--to', 'moon'],
    ['deposit', '1', '--daily', 'much'],
    ['deposit', '1', '--daily', '1', '--to', 'free'],
  ],
  withdraw: [
    ['withdraw', 'much'],
    ['withdraw', '0'],
    ['withdraw', '1.5', '--units'],
    ['withdraw', '--from', 'somebody'],
  ],
  migrate: [['migrate'], ['migrate', '--to', ''], ['migrate', '--to', 'a b']],
  sponsor: [
    ['sponsor', 'no name'],
    ['sponsor', 'hello', '--daily', 'much'],
    ['sponsor', 'hello', '--daily', '0'],
    ['sponsor', 'hello', '--daily', '1', '--days', '0'],
    ['sponsor', 'hello', '--daily', '1', '--days', '1.5'],
    ['sponsor', 'hello', '--daily', '1', '--days', ''],
    ['sponsor', 'hello', '--daily', '1', '--days', '0x10'],
    ['sponsor', 'hello', '--daily', '1', '--deposit', 'much'],
    ['sponsor', 'hello', '--renew'],
    ['sponsor', 'hello', '--daily', '1', '--stop'],
    ['sponsor', 'hello', '--stop', '--deposit', '1'],
    ['sponsor', 'hello', '--stop', '--days', '3'],
  ],
  estimate: [
    ['estimate', 'no name'],
    ['estimate', 'hello', '--ms', '0'],
    ['estimate', 'hello', '--calls', 'x'],
    ['estimate', 'hello', '--deposit', 'much'],
  ],
  grant: [
    ['grant', 'no name', ADDRESS],
    ['grant', 'hello', 'somebody'],
    ['grant', 'hello', ADDRESS, '--expires', '0'],
    ['grant', 'hello', ADDRESS, '--expires', '2027-02-30'],
    ['grant', 'hello', ADDRESS, '--expires', 'soon'],
    ['grant', 'hello', ADDRESS, '--scopes', 'all'],
    ['grant', 'hello', ADDRESS, '--scopes', ''],
  ],
  grants: [['grants', 'no name']],
  earnings: [
    ['earnings', '--by', 'mood'],
    ['earnings', '--by', ''],
    ['earnings', '--since', '2026-02-30'],
    ['earnings', '--since', 'yesterday'],
  ],
  account: [
    ['account', 'drop', 'alice'],
    ['account', 'new'],
    ['account', 'new', '../alice'],
    ['account', 'list', 'alice'],
    ['account', 'use', 'alice', '--key-file', 'key'],
  ],
  revoke: [
    ['revoke', 'no name', ADDRESS],
    ['revoke', 'hello', 'somebody'],
    ['revoke', 'hello'],
    ['revoke', 'hello', ADDRESS, '--all'],
  ],
  token: [
    ['token', '--allow', 'much'],
    ['token', '--allow', '0'],
    ['token', '--control', '--allow', '1'],
    ['token', '--control', '--function', 'hello'],
    ['token', '--function', 'no name'],
    ['token', '--daily', '1'],
    ['token', '--stop'],
    ['token', '--service', 'No Id'],
    ['token', '--service', 'ci', '--daily', 'much'],
    ['token', '--service', 'ci', '--days', '366'],
    ['token', '--service', 'ci', '--stop', '--daily', '1'],
    ['token', '--service', 'ci', '--allow', '1'],
    ['token', '--service', 'ci', '--function', 'no name'],
  ],
  receipts: [
    ['receipts', '--limit', '0'],
    ['receipts', '--limit', ''],
  ],
  payouts: [
    ['payouts', '--bar', 'somebody'],
    ['payouts', '--send', '--bar', ADDRESS],
  ],
  bond: [
    ['bond', 'much'],
    ['bond', '0'],
    ['bond', '1.5', '--units'],
    ['bond', '1', '--settler', 'somebody'],
  ],
  unbond: [
    ['unbond', 'much'],
    ['unbond', '1.5', '--units'],
  ],
  fee: [
    ['fee', 'much'],
    ['fee', '2.555'],
    ['fee', '-1'],
  ],
  'rotate-key': [['rotate-key', '--key-file', '']],
  audit: [['audit', '--evidence', '']],
  watch: [
    ['watch', '--once', '--every', 'x'],
    ['watch', '--every', '0'],
    ['watch', '--once', '--patience', '1.5'],
    ['watch', '--once', '--patience', ''],
  ],
  demand: [
    ['demand', 'x'],
    ['demand', ADDRESS, '1', '2'],
    ['demand', ADDRESS, '1', '2', 'x'],
  ],
  prove: [['prove', '']],
  expire: [
    ['expire', 'x'],
    ['expire', ''],
  ],
};

/** Files that are not there are no wrong usage; nothing is asked for them either. */
const MISSING = [
  ['list', '--deployment', 'none.json'],
  ['register', 'none'],
  ['dev', 'none'],
  ['secret', 'set', 'hello', 'KEY', '--value-file', 'none'],
  ['invoke', 'hello', '--file', 'none'],
  ['invoke', 'hello', '--out', 'none/out'],
  ['prove', 'none.json'],
];

describe('wrong usage of the command line', function () {
  this.timeout(300_000);
  let folder: string;
  let server: Server;
  let url: string;
  let requests: string[];
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'defaas-usage-'));
    mkdirSync(join(folder, 'home/keys'), { recursive: true });
    const key = { address: ADDRESS, privateKey: `0x${'22'.repeat(32)}` };
    for (const role of ['user', 'gateway']) {
      writeFileSync(join(folder, `home/keys/${role}.json`), JSON.stringify(key), {
        mode: 0o600,
      });
    }
    server = createServer((request, reply) => {
      requests.push(`${request.method} ${request.url}`);
      reply.writeHead(503).end();
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // it listens on TCP
  });
  beforeEach(() => {
    requests = [];
  });
  after(async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
    rmSync(folder, { recursive: true });
  });

  interface Ended {
    readonly words: string;
    readonly code: number;
    readonly stdout: string;
    readonly stderr: string;
  }
  function defaas(words: readonly string[]): Promise<Ended> {
    const env = {
      PATH: process.env.PATH,
      INIT_CWD: folder,
      DEFAAS_HOME: 'home',
      DEFAAS_GATEWAY: url,
      DEFAAS_CHAIN_RPC_URL: url,
    };
    return new Promise((done) => {
      const child = execFile(
        process.execPath,
        [MAIN, ...words],
        { env, cwd: folder },
        (error, stdout, stderr) => {
          done({ words: words.join(' '), code: error ? Number(error.code) : 0, stdout, stderr });
        },
      );
      child.stdin?.end('value');
    });
  }
  async function runAll(rows: readonly (readonly string[])[]): Promise<readonly Ended[]> {
    const ended: Ended[] = [];
    for (let i = 0; i < rows.length; i += PARALLEL) {
      ended.push(...(await Promise.all(rows.slice(i, i + PARALLEL).map(defaas))));
    }
    return ended;
  }

  for (const [command, rows] of Object.entries(WRONG)) {
    it(`is exit code 2 and one line, and nothing is sent: ${command}`, async () => {
      const before = readdirSync(join(folder, 'home/keys'));

      const ended = await runAll(rows);

      const wrong = ended.filter(
        ({ code, stdout, stderr }) =>
          code !== 2 || stdout !== '' || !/^USAGE: [^\n]+\n$/.test(stderr),
      );
      assert.deepEqual(wrong, []);
      assert.deepEqual(requests, []);
      assert.deepEqual(readdirSync(join(folder, 'home/keys')), before);
    });
  }

  it('is no binary secret, which is refused and not repaired', async () => {
    writeFileSync(join(folder, 'binary'), Uint8Array.of(0x6b, 0xff, 0xfe, 0x0a));

    const [ended] = await runAll([['secret', 'set', 'hello', 'KEY', '--value-file', 'binary']]);

    assert.equal(ended?.code, 1);
    assert.match(ended?.stderr ?? '', /^SECRET_INVALID: .* on KEY, encode it[^\n]+\n$/);
    assert.deepEqual(requests, []);
  });

  it('is no missing file, which is named before anything is sent', async () => {
    const ended = await runAll(MISSING);

    for (const { words, code, stderr } of ended) {
      assert.equal(code, 1, words);
      assert.match(stderr, /^(FILE_UNREADABLE|NOT_A_FUNCTION_FOLDER): .*none/, words);
    }
    assert.deepEqual(requests, []);
  });

  it('is tried for each option that takes a value', () => {
    const tried = new Set([...Object.values(WRONG).flat(2), ...MISSING.flat()]);
    const options = [...declared().matchAll(/'(--[a-z-]+) <[a-z]+>'/g)].map(
      ([, name = '']) => name,
    );

    assert.ok(options.length > 20);
    assert.deepEqual(
      [...new Set(options)].filter((name) => !tried.has(name)),
      [],
    );
  });

  it('is tried for each command that takes a word', () => {
    const commands = [...declared().matchAll(/add\(\s*'([a-z-]+) [<[]/g)].map(
      ([, name = '']) => name,
    );
    const tried = new Set([...Object.keys(WRONG), ...MISSING.map(([name]) => name)]);

    assert.ok(commands.length > 20);
    assert.deepEqual(
      commands.filter((name) => !tried.has(name)),
      [],
    );
  });
});
