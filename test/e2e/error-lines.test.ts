// Errors that a user of a house can meet: each gives one clear line with a code, and loses nothing.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createHouse, type Ended, type TestHouse } from './house.ts';

const MANIFEST = {
  entry: 'handler.ts',
  memoryMiB: 128,
  timeoutMs: 5000,
  tariff: { perCall: 20, perGiBSecond: 40, maxPrice: 100_000, roundMs: 1 },
  access: 'public',
  idempotent: true,
};

describe('the command line', function () {
  this.timeout(300_000);
  let house: TestHouse;

  before(async () => {
    house = createHouse();
    await house.start();
    await publish(
      'echo',
      'export default async (request: Request) => new Response(await request.arrayBuffer());',
    );
    await house.json('deploy', 'echo', '--to', 'aws,google,azure');
  });
  after(() => house.remove());

  function write(name: string, handler: string, manifest: object = {}): void {
    mkdirSync(join(house.folder, name), { recursive: true });
    writeFileSync(join(house.folder, name, 'handler.ts'), handler);
    const text = JSON.stringify({ ...MANIFEST, name, ...manifest });
    writeFileSync(join(house.folder, name, 'defaas.json'), text);
  }

  async function publish(name: string, handler: string, manifest: object = {}): Promise<void> {
    write(name, handler, manifest);
    await house.json('register', name);
  }

  /**
   * The last line on stderr has this code, only progress stands before it, and the exit code is 1.
   */
  function assertLine({ code, stderr }: Ended, expected: string, exitCode = 1): void {
    assert.match(stderr, new RegExp(`^( {2}[^\\n]+\\n)*${expected}: [^\\n]{10,}\\n$`));
    assert.equal(code, exitCode);
  }

  it('says what to do before the first deposit', async () => {
    assertLine(await house.defaas('invoke', 'echo'), 'LANE_UNKNOWN');
  });

  it('calls a sponsored function without a deposit', async () => {
    const [, owner] = /functions\/(0x[0-9a-f]+)\//.exec(house.up().example) ?? [];

    const { status, receipt } = await house.json('invoke', `${owner}/hello`);

    assert.equal(status, 200);
    assert.match(receipt.id, /^0x[0-9a-f]{64}$/);
  });

  it('reports how much is missing of a deposit that is too small, and calls once there is more', async () => {
    await house.json('deposit', '10', '--units');

    const told = await house.defaas('invoke', 'echo');
    const { stdout } = await house.defaas('invoke', 'echo', '--json');

    assertLine(told, 'PAYMENT_REQUIRED');
    const { status, problem, receipt } = JSON.parse(stdout);
    assert.equal(status, 402);
    assert.equal(receipt, null);
    assert.equal(problem.reason, 'line');
    assert.ok(BigInt(problem.needUnits) > 0n);
    assert.equal(problem.lineUnits, '10');

    await house.json('deposit', '1');
    assert.equal((await house.json('invoke', 'echo', '--data', 'x')).body, 'x');
  });

  it('names functions, versions and clouds that do not exist', async () => {
    assertLine(await house.defaas('invoke', 'nothing'), 'FUNCTION_UNKNOWN');
    assertLine(await house.defaas('invoke', 'echo@9'), 'FUNCTION_UNKNOWN');
    assertLine(await house.defaas('deploy', 'nothing', '--to', 'aws'), 'FUNCTION_UNKNOWN');
    assertLine(await house.defaas('deploy', 'echo', '--to', 'mars'), 'USAGE', 2);
  });

  it('keeps strangers from deploying what is not theirs', async () => {
    const owner = JSON.parse(readFileSync(join(house.home, 'keys/user.json'), 'utf8')).address;

    const ended = await house.defaas(
      'deploy',
      `${owner}/echo`,
      '--to',
      'aws',
      '--account',
      'publisher',
    );

    assertLine(ended, 'NOT_OWNER');
  });

  it('lets only the operator settle', async () => {
    const token = await fetch(`${house.up().gateway}/settlements`, { method: 'POST' });

    assert.equal(token.status, 401);
    assert.equal((await token.json()).code, 'TOKEN_MISSING');
  });

  it('refuses a bad token', async () => {
    const headers = { authorization: 'Bearer not-a-token' };
    const reply = await fetch(house.up().example, { headers });

    assert.equal(reply.status, 401);
    assert.equal(reply.headers.get('content-type')?.split(';')[0], 'application/problem+json');
    assert.equal((await reply.json()).code, 'TOKEN_INVALID');
  });

  it('charges nothing for a handler that throws or runs out of time, and keeps its receipt', async () => {
    await publish('throws', 'export default async () => { throw new Error("boom"); };');
    const slow = 'export default () => new Promise((done) => setTimeout(done, 60_000));';
    await publish('slow', slow, { timeoutMs: 1000 });
    await house.json('deploy', 'throws', '--to', 'aws');
    await house.json('deploy', 'slow', '--to', 'aws');
    const before = await house.json('balance');

    const thrown = await house.defaas('invoke', 'throws', '--out', 'answer');
    const { stdout } = await house.defaas('invoke', 'slow', '--json');
    const receipts = await house.json('receipts');

    assertLine(thrown, 'FUNCTION_FAILED');
    assert.match(thrown.stderr, /boom/);
    assert.ok(!readdirSync(house.folder).includes('answer'));
    assert.equal(JSON.parse(stdout).status, 504);
    assert.equal(JSON.parse(stdout).receipt.priceUnits, '0');
    assert.deepEqual(await house.json('balance'), before);
    const failed = receipts.filter(({ status }: { status: number }) => status === 0);
    assert.deepEqual(
      failed.map(({ priceUnits }: { priceUnits: string }) => priceUnits),
      ['0', '0'],
    );
  });

  it('refuses a body that is too large, and still serves the next call', async () => {
    writeFileSync(join(house.folder, 'large'), Buffer.alloc(7 * 1024 * 1024));

    assertLine(await house.defaas('invoke', 'echo', '--file', 'large'), 'BODY_TOO_LARGE');
    assertLine(await house.defaas('invoke', 'echo', '--file', 'none-such'), 'FILE_UNREADABLE');
    assert.equal((await house.json('invoke', 'echo', '--data', 'y')).body, 'y');
  });

  it('reports that all clouds are down, charges nothing, and works again when one is back', async () => {
    const before = await house.json('balance');
    for (const cloud of ['aws', 'google', 'azure'] as const) {
      await house.faults(cloud, [{ kind: 'outage' }]);
    }

    const down = await house.defaas('invoke', 'echo', '--data', 'z');
    const after = await house.json('balance');
    for (const cloud of ['aws', 'google', 'azure'] as const) await house.faults(cloud, []);

    assertLine(down, 'PROVIDERS_DOWN');
    assert.deepEqual(after, before);
    assert.equal((await house.json('invoke', 'echo', '--data', 'z')).body, 'z');
  });

  it('pays no more than --max', async () => {
    assertLine(await house.defaas('invoke', 'echo', '--max', '0.00001'), 'PRICE_ABOVE_MAX');
  });

  it('names a chain that does not answer', async () => {
    const ended = await house.defaas('list', '--rpc', 'http://127.0.0.1:9');

    assertLine(ended, 'CHAIN_UNREACHABLE');
  });

  it('reports a batch as unexplained whose block is altered or gone, and as explained when the block is back', async () => {
    const settled = await house.json('settle');
    assert.equal((await house.json('audit')).proven, settled.receipts);
    const { cid } = await (await fetch(`${house.up().gateway}/batches/${settled.batch}`)).json();
    const file = findBlock(
      house.home,
      await (await fetch(`${house.up().gateway}/ipfs/${cid}?format=raw`)).bytes(),
    );
    const bytes = readFileSync(file);

    writeFileSync(file, Buffer.from(bytes).fill(0, 20, 30));
    const altered = await house.defaas('audit', '--json');
    rmSync(file);
    const gone = await house.defaas('audit', '--json');
    writeFileSync(file, bytes);
    const whole = await house.json('audit');

    for (const { code, stdout, stderr } of [altered, gone]) {
      assert.equal(code, 1);
      assert.match(stderr, /^AUDIT_FINDINGS: [^\n]+\n$/);
      assert.equal(JSON.parse(stdout).unexplainedUnits, settled.totalUnits);
      assert.equal(JSON.parse(stdout).findings[0].units, settled.totalUnits);
    }
    assert.equal(whole.unexplainedUnits, '0');
  });
});

/** Where the house keeps a block with these bytes. */
function findBlock(home: string, bytes: Uint8Array): string {
  const files = readdirSync(home, { recursive: true, encoding: 'utf8' })
    .map((path) => join(home, path))
    .filter((path) => /ipfs/.test(path) && statSync(path).isFile());
  const found = files.find((path) => readFileSync(path).equals(bytes));
  return found ?? assert.fail(`no file with the block's ${bytes.length} bytes`);
}
