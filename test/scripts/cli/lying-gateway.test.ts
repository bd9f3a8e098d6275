// How much a lying gateway can take from the command line, as processes: a real gateway whose
// replies a test changes.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseEvidence } from '../../../broker/client/evidence.ts';
import { STEP_UNITS } from '../../../broker/client/invoke.ts';
import { deposit } from '../../../scripts/cli/deposit.ts';
import { documentsIn, invent, pageOf } from '../../broker/forger.ts';
import { type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine } from './beside.ts';
import { type Between, type Lie, type Passing, startBetween } from './between.ts';

const MAIN = resolve(import.meta.dirname, '../../../scripts/defaas.ts');
const HELLO = `export default async () => new Response('hello');`;
const DEAR_UNITS = 60_000;

describe('the command line with a gateway that lies', function () {
  this.timeout(180_000);
  let house: SmallHouse;
  let between: Between;
  let cli: CommandLine;
  let hello: string;
  let dear: string;
  /** Ceilings of all vouchers that were sent. */
  let signed: bigint[] = [];
  before(async () => {
    between = await startBetween(() => house.url());
    house = await startSmallHouse({ publicOrigins: [between.url] });
    const tariffOf = (perCall: number) => ({
      perCall,
      perGiBSecond: 0,
      maxPrice: perCall,
      roundMs: 1,
    });
    hello = await house.publish('hello', HELLO, { tariff: tariffOf(20) });
    dear = await house.publish('dear', HELLO, { tariff: tariffOf(DEAR_UNITS) });
  });
  after(async () => {
    await between.close();
    await house.close();
  });
  beforeEach(async () => {
    cli = createCommandLine(house);
    await deposit(cli.flags(), '60', { to: 'lane' });
    await house.gateway().chain.synced();
    signed = [];
    between.ask = ({ headers }) => {
      const [units] = `${headers['defaas-voucher'] ?? ''}`.split(':');
      if (units) signed.push(BigInt(units));
      return undefined;
    };
  });
  afterEach(() => {
    between.ask = () => undefined;
    between.lie = () => undefined;
    cli.remove();
  });

  const run = (...words: string[]) =>
    new Promise<{ code: number; line: string; stdout: string }>((done) => {
      const env = { ...process.env, DEFAAS_CHAIN_RPC_URL: house.chain.url };
      const all = [MAIN, ...words, '--account', 'user', '--gateway', between.url];
      execFile(process.execPath, all, { env }, (error, stdout, stderr) => {
        const line = stderr.trimEnd().split('\n').at(-1) ?? '';
        done({ code: error ? Number(error.code) : 0, line, stdout });
      });
    });
  const asksForMore = ({ path, asked }: Passing): Lie | undefined => {
    if (!path.startsWith('/functions/')) return undefined;
    const [ceilingUnits] = `${asked['defaas-voucher'] ?? '0'}`.split(':');
    const missing = { reason: 'ceiling', needUnits: '1', priceUnits: '20', ceilingUnits };
    return {
      status: 402,
      headers: { 'content-type': 'application/problem+json', 'defaas-receipt': undefined },
      body: JSON.stringify({ code: 'PAYMENT_REQUIRED', ...missing }),
    };
  };

  it('signs one step and no more for 99 invented receipts and repeated 402s, keeps the evidence, and stops paying there', async () => {
    const first = await run('invoke', hello);
    between.lie = (passing) => {
      if (!passing.path.startsWith('/receipts?')) return asksForMore(passing);
      const honest = documentsIn(`${passing.body}`);
      const last = honest.at(-1);
      return { body: pageOf(last ? [...honest, ...invent(house.view.domain, last, 99)] : honest) };
    };

    const lied = await run('invoke', hello);
    between.lie = () => undefined;
    const again = await run('invoke', hello);
    const more = await run('deposit', '1');

    assert.deepEqual([first.code, first.stdout], [0, 'hello'], first.line);
    assert.deepEqual([lied.code, lied.line.split(':')[0]], [1, 'RECEIPT_INVALID'], lied.line);
    assert.deepEqual([again.code, again.line.split(':')[0]], [1, 'LANE_STOPPED'], again.line);
    assert.deepEqual([more.code, more.line.split(':')[0]], [1, 'LANE_STOPPED'], more.line);
    assert.deepEqual(new Set(signed), new Set([STEP_UNITS]));
    const folder = join(cli.home, 'evidence');
    const [file = ''] = readdirSync(folder);
    assert.match(again.line, new RegExp(file));
    // The call that was refused had run: what is invented stands on top of its receipt.
    const { exhibit } = parseEvidence(readFileSync(join(folder, file), 'utf8'));
    assert.equal(exhibit.kind === 'receipt' && exhibit.signed.receipt.seq, 3);
  });

  it('signs for several processes no more than their calls may cost together, and pays for no refused call', async () => {
    between.lie = (passing) =>
      passing.path.startsWith('/receipts?') ? { body: pageOf([]) } : asksForMore(passing);

    const ended = await Promise.all([1, 2, 3].map(() => run('invoke', dear)));
    const most = signed.reduce((a, b) => (a > b ? a : b), 0n);
    between.lie = () => undefined;
    const later = await run('invoke', dear);

    for (const { code, line } of ended) assert.equal(code, 1, line);
    assert.ok(most <= 3n * BigInt(DEAR_UNITS), `${most}`);
    // The calls that were answered by 402 had run, and their receipts are shown now.
    assert.deepEqual([later.code, later.line.split(':')[0]], [1, 'RECEIPT_INVALID'], later.line);
  });
});
