// The payer's own nonce in the gateway: copied unchanged into the Call, and charged once.
import assert from 'node:assert/strict';
import { fetchReceipt } from '../../../broker/client/receipts.ts';
import type { Session } from '../../../broker/client/session.ts';
import type { Key } from '../../../contracts/keystore.ts';
import type { Hex } from '../../../contracts/libraries/keccak.ts';
import { describeBothWays } from '../both-ways.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const ECHO = `export default async (request) => {
  if (new URL(request.url).searchParams.has('throw')) throw new TypeError('on purpose');
  return new Response(await request.text());
};`;

describeBothWays('nonces of prepaid calls', function (fastPath) {
  this.timeout(60_000);
  let house: SmallHouse;
  let echo: string;
  let session: Session;
  let lane: Key;
  before(async () => {
    house = await startSmallHouse({ fastPath });
    echo = await house.publish('echo', ECHO);
    lane = await house.openLane(KEYS.user);
    session = await house.session(lane, { payer: KEYS.user, signer: lane });
    await (await house.caller(KEYS.user, lane)).invoke({ function: echo });
  });
  after(() => house.close());

  let drawn = 0;
  const nonceOf = (): Hex => {
    drawn += 1;
    return `0x${drawn.toString(16).padStart(64, '0')}`;
  };
  const call = (nonce: string, headers: Record<string, string> = {}, query = '') =>
    session.send(`/functions/${echo}/${query}`, {
      headers: { 'defaas-nonce': nonce, 'defaas-max-price': '1234', ...headers },
    });
  const codeOf = async (reply: Response) => [reply.status, (await reply.json()).code];

  it('are written into the Call unchanged, with the maximum price that they were made for', async () => {
    const nonce = nonceOf();

    const reply = await call(nonce);

    const document = await fetchReceipt(session, reply.headers.get('defaas-receipt') ?? '');
    assert.deepEqual([document.call.nonce, document.call.maxPrice], [nonce, 1234n]);
  });

  it('are refused when malformed, or without the maximum price that they were made for', async () => {
    for (const nonce of ['0x12', `${nonceOf()}00`, 'nonsense']) {
      assert.deepEqual(await codeOf(await call(nonce)), [400, 'REQUEST_INVALID'], nonce);
    }
    const headers = { 'defaas-nonce': nonceOf() };
    const reply = await session.send(`/functions/${echo}`, { headers });
    assert.deepEqual(await codeOf(reply), [400, 'REQUEST_INVALID']);
  });

  it('are charged once: a repeated nonce runs nothing, and with an Idempotency-Key gets the first answer', async () => {
    const nonce = nonceOf();
    const both = await Promise.all([call(nonce), call(nonce)]);
    const again = await call(nonce);
    const keyed = nonceOf();
    const first = await call(keyed, { 'idempotency-key': 'once' });
    const second = await call(keyed, { 'idempotency-key': 'once' });

    assert.deepEqual(both.map(({ status }) => status).sort(), [200, 409]);
    assert.deepEqual(await codeOf(again), [409, 'NONCE_USED']);
    assert.deepEqual([first.status, second.status], [200, 200]);
    assert.equal(second.headers.get('defaas-receipt'), first.headers.get('defaas-receipt'));
  });

  it('stay used after a restart of the gateway', async () => {
    const [nonce, free] = [nonceOf(), nonceOf()];
    await call(nonce);
    await call(free, {}, '?throw=1');
    await house.restart({ fastPath });
    session = await house.session(lane, { payer: KEYS.user, signer: lane });

    assert.deepEqual(await codeOf(await call(nonce)), [409, 'NONCE_USED']);
    assert.equal((await call(free)).status, 200);
  });

  it('may be used again after a call that cost nothing or was refused', async () => {
    const nonce = nonceOf();

    const refused = await call(nonce, { 'defaas-max-price': '1' });
    const failed = await call(nonce, {}, '?throw=1');
    const done = await call(nonce);

    assert.deepEqual([refused.status, failed.status, done.status], [402, 502, 200]);
  });
});
