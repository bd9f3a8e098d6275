// `bench hostile`: what a stranger's requests cost the gateway, in work and not in time: blocks of
// code run, bytes kept, durable writes, questions to the chain.
import { type ChildProcess, fork } from 'node:child_process';
import { hash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { getAddress } from 'ethers';
import { signInMessage } from '../../broker/client/sign-in.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { type CountingRpc, startCountingRpc } from './hostile/counting-rpc.ts';
import { freeMsOverBudget } from './hostile/free-failures.ts';
import { lanesWorkGrowth } from './hostile/lanes-work.ts';
import { createWorkCounter } from './hostile/work.ts';
import type { HeapSample } from './http/heap-probe.ts';
import { type PaidGateway, startPaidGateway } from './http/paid-gateway.ts';
import type { Bar, Run } from './main.ts';

const FUNCTION = 'hostile';
/** A head of 12.6 KB: as many headers as tokens that `Connection` may name. */
const TOKENS = 900;
const REQUESTS = 10;
const IDLE_CONNECTIONS = 500;
/** Headers of the head that each idle connection has sent once, of 6.5 KB: parsed it is larger. */
const IDLE_HEADERS = 500;
const REFUSALS = 50;
const NONCES = 5;
const TRIES_A_NONCE = 20;
const JUNK: Hex = `0x${'11'.repeat(65)}`;
/** Longer than receipts wait for their index, so that nothing else is written meanwhile. */
const REST_MS = 3_000;
const KIB = 1024;

const BARS: readonly Bar[] = [
  { figure: 'connectionTokensWork', limit: 2 },
  { figure: 'idleConnectionKiB', limit: 24 },
  { figure: 'refusedKeyedWrites', limit: 0 },
  { figure: 'signInEthCallsPerNonce', limit: 1 },
  { figure: 'lanesWorkGrowth', limit: 2 },
  { figure: 'freeMsOverBudget', limit: 0 },
];

export const run: Run = async (report) => {
  report('lanes and free failures');
  const lanes = await lanesWorkGrowth(createWorkCounter());
  const free = await freeMsOverBudget();
  const stub = fork(join(import.meta.dirname, 'http/stub-upstream.ts'));
  let rpc: CountingRpc | undefined;
  let gateway: PaidGateway | undefined;
  try {
    const [{ ready }] = await once(stub, 'message');
    const upstreams = [`http://127.0.0.1:${ready.port}`];
    const probes = ['http/heap-probe.ts', 'hostile/probe.ts'];
    gateway = await startPaidGateway({
      functions: [{ name: FUNCTION, idempotent: false, upstreams }],
      execArgv: [
        '--expose-gc',
        ...probes.flatMap((file) => ['--import', join(import.meta.dirname, file)]),
      ],
      before: async (url) => {
        rpc = await startCountingRpc(url);
        return rpc.url;
      },
    });
    report('heads of many tokens');
    const tokens = await tokensWork(gateway);
    report('idle connections');
    const idleKiB = await idleConnectionKiB(gateway);
    report('refused keyed calls');
    const refused = await refusedKeyedWrites(gateway);
    report('sign-ins');
    const signIns = rpc ? await ethCallsPerNonce(gateway, rpc) : null;
    const figures = {
      connectionTokensWork: round(tokens.hostile / tokens.plain),
      idleConnectionKiB: round(idleKiB),
      refusedKeyedWrites: refused,
      signInEthCallsPerNonce: signIns,
      lanesWorkGrowth: lanes.worst,
      freeMsOverBudget: free.over,
    };
    return { figures, bars: BARS, details: { tokens, lanes: lanes.growth, freeMs: free.freeMs } };
  } finally {
    await gateway?.close();
    rpc?.close();
    stub.kill('SIGTERM');
  }
};

/** The work of a head whose `Connection` names many headers, and of the same head without. */
async function tokensWork(gateway: PaidGateway): Promise<{ hostile: number; plain: number }> {
  const names = Array.from({ length: TOKENS }, (_, n) => `h${n.toString(36)}`);
  const headers = names.map((name) => `${name}: 1`).join('\r\n');
  const ask = async (list: string): Promise<number> => {
    const head = `GET ${pathOf(gateway)} HTTP/1.1\r\nHost: x\r\n${list}: ${names.join(',')}\r\n${headers}`;
    await answered(gateway, head);
    await askProbe(gateway.process, 'work-begin', 'working');
    for (let n = 0; n < REQUESTS; n += 1) await answered(gateway, head);
    return Number(await askProbe(gateway.process, 'work-end', 'work'));
  };
  const plain = await ask('X-Connects');
  return { hostile: await ask('Connection'), plain };
}

/** What each connection keeps after one head and a 404. */
async function idleConnectionKiB(gateway: PaidGateway): Promise<number> {
  const sockets: Socket[] = [];
  const memory = async (): Promise<number> => {
    await sleep(REST_MS);
    // Safe: heap-probe.ts answers so.
    const sample = (await askProbe(gateway.process, 'heap', 'heap')) as HeapSample;
    return sample.heapBytes + sample.externalBytes;
  };
  try {
    const before = await memory();
    for (let n = 0; n < IDLE_CONNECTIONS; n += 1) {
      const headers = Array.from({ length: IDLE_HEADERS }, (_, at) => `x${at}: ${n}-${at}`);
      const lines = [`GET ${pathOf(gateway)}-none HTTP/1.1`, 'Host: x', ...headers];
      const head = lines.join('\r\n');
      const { socket, text } = await answered(gateway, head, true);
      if (!text.startsWith('HTTP/1.1 404')) throw new Error(`not a 404: ${text.slice(0, 200)}`);
      sockets.push(socket);
    }
    return ((await memory()) - before) / IDLE_CONNECTIONS / KIB;
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

/** How many of the refused calls changed the ledger's files. */
async function refusedKeyedWrites(gateway: PaidGateway): Promise<number> {
  const { origin, path, headers } = await gateway.target('x');
  const written = (): string =>
    ['journal.log', 'ledger.sqlite', 'ledger.sqlite-wal']
      .map((file) => hash('sha256', readFileSync(join(gateway.home, 'gateway', file))))
      .join();
  await sleep(REST_MS);
  let writes = 0;
  for (let n = 0; n < REFUSALS; n += 1) {
    const before = written();
    const reply = await fetch(`${origin}${path}`, {
      method: 'POST',
      headers: {
        ...headers,
        'defaas-nonce': `0x${hash('sha256', `${n}`)}`,
        'defaas-max-price': '1',
        'idempotency-key': `refused-${n}`,
      },
      body: 'x',
    });
    if (reply.ok) throw new Error('the call was not refused');
    await reply.arrayBuffer();
    if (written() !== before) writes += 1;
  }
  return writes;
}

/** Most questions to the chain per nonce, of messages with a signature of nobody. */
async function ethCallsPerNonce(gateway: PaidGateway, rpc: CountingRpc): Promise<number> {
  const { connection, owner } = gateway;
  let most = 0;
  for (let n = 0; n < NONCES; n += 1) {
    const before = rpc.ethCallsTo(owner);
    const asked = await connection.request('/oauth/nonce', { method: 'POST' });
    const { nonce } = await asked.json();
    const message = signInMessage({ connection, address: owner, nonce, issuedAtMs: Date.now() });
    if (!message.includes(getAddress(owner))) throw new Error('the message names another account');
    const subject = Buffer.from(JSON.stringify({ message, signature: JUNK })).toString('base64url');
    const body = new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token_type: 'urn:defaas:params:oauth:token-type:siwe',
      subject_token: subject,
    });
    const tries = Array.from({ length: TRIES_A_NONCE }, async () => {
      const reply = await connection.send('/oauth/token', { method: 'POST', body });
      if (reply.status !== 400) throw new Error(`a sign-in was answered with ${reply.status}`);
    });
    await Promise.all(tries);
    most = Math.max(most, rpc.ethCallsTo(owner) - before);
  }
  return most;
}

function pathOf({ owner }: PaidGateway): string {
  return `/functions/${owner}/${FUNCTION}`;
}

/** Sends a head on a connection of its own, and reads one whole answer. */
async function answered(
  { origin }: PaidGateway,
  head: string,
  isKept = false,
): Promise<{ socket: Socket; text: string }> {
  const socket = connect(Number(new URL(origin).port), '127.0.0.1');
  socket.write(`${head}\r\n\r\n`, 'latin1');
  let text = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += chunk.toString('latin1');
    const [first = '', ...rest] = text.split('\r\n\r\n');
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(first)?.[1] ?? Number.NaN);
    if (rest.join('\r\n\r\n').length >= length) break;
  }
  if (!isKept) socket.destroy();
  return { socket, text };
}

function askProbe(child: ChildProcess, question: string, answer: string): Promise<unknown> {
  return new Promise((resolve) => {
    const hear = (message: Readonly<Record<string, unknown>>): void => {
      if (!(answer in message)) return;
      child.off('message', hear);
      resolve(message[answer]);
    };
    child.on('message', hear);
    child.send(question);
  });
}

function round(value: number): number {
  return Number(value.toFixed(2));
}
