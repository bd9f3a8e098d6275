// Signed lanes, end to end: every call carries a Call that the lane's key has signed, and nothing
// else is needed or taken.
import assert from 'node:assert/strict';
import { fetchBlock } from '../../../broker/client/artifacts.ts';
import { audit } from '../../../broker/client/audit.ts';
import { textToBase64Url } from '../../../broker/client/base64url.ts';
import { createChainReader } from '../../../broker/client/chain-reader.ts';
import { createKeySigner } from '../../../broker/client/key.ts';
import { signVoucher, voucherHeader } from '../../../broker/client/lane.ts';
import { createLaneMemory } from '../../../broker/client/lane-memory.ts';
import { fetchReceipt } from '../../../broker/client/receipts.ts';
import { settle } from '../../../broker/client/settlement.ts';
import { createCallSigner } from '../../../broker/client/sign-call.ts';
import type { Key } from '../../../contracts/keystore.ts';
import { hashSignedCall } from '../../../contracts/libraries/typed-data.ts';
import { recoverAddress } from '../../../contracts/signatures.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { describeBothWays } from '../both-ways.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const ECHO = `let runs = 0;
export default async (request) => {
  runs += 1;
  return Response.json({ runs, authorization: request.headers.get('authorization'), call: request.headers.get('defaas-call'), body: await request.text() });
};`;
/** All that a call of ECHO and OTHER can cost: 20 + 40 x 128/1024 x 1 s. */
const WORST_UNITS = 45n;

const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'utf8'));

describeBothWays('signed calls', function (fastPath) {
  this.timeout(120_000);
  let house: SmallHouse;
  let echo: string;
  let other: string;
  let lane: Key;
  before(async () => {
    house = await startSmallHouse({ fastPath });
    echo = await house.publish('echo', ECHO);
    other = await house.publish('other', ECHO);
    lane = await house.openLane(KEYS.user, undefined, 'signed');
  });
  after(() => house.close());

  const signer = async (signedBy: Key = lane, of: Key = lane) => {
    const { connection } = await house.session(KEYS.user);
    const key = await createKeySigner(signedBy.privateKey);
    const chain = createChainReader(connection.chain);
    const name = { payer: KEYS.user.address, signer: of.address };
    const ownCallsKey = key.ownCallsKey ?? '0x';
    return createCallSigner({ connection, key, lane: name, chain, ownCallsKey });
  };
  const headerOf = async (body = '', idempotencyKey: string = crypto.randomUUID(), fn = echo) =>
    (
      await (
        await signer()
      ).sign({
        function: fn,
        request: { method: 'POST', target: '/', body: bytes(body) },
        idempotencyKey,
        maxPriceUnits: undefined,
      })
    ).header;
  const voucherOf = async (units: bigint) => {
    const { connection } = await house.session(KEYS.user);
    const key = await createKeySigner(lane.privateKey);
    return voucherHeader(units, await signVoucher(connection, key, KEYS.user.address, units));
  };
  const send = async (call: string, body = '', fn = echo, headers: Record<string, string> = {}) =>
    fetch(`${house.url()}/functions/${fn}`, {
      method: 'POST',
      headers: { 'defaas-call': call, 'defaas-voucher': await voucherOf(1_000_000n), ...headers },
      body,
    });
  const codeOf = async (reply: Response) => [reply.status, (await reply.json()).code];
  /** The header with other fields, signed again by `by`. */
  const altered = async (changes: Record<string, unknown>, by: Key = lane): Promise<string> => {
    const {
      salt,
      signature: _old,
      ...call
    } = JSON.parse(Buffer.from(await headerOf(), 'base64url').toString());
    const key = await createKeySigner(by.privateKey);
    const { connection } = await house.session(KEYS.user);
    const next = { ...call, ...changes };
    const signature = await key.sign(connection.domain, 'Call', {
      ...next,
      maxPrice: BigInt(next.maxPrice),
    });
    return textToBase64Url(JSON.stringify({ ...next, salt, signature }));
  };

  it('are paid and answered without a token, by vouchers that cover no more than is checked and in flight', async () => {
    const own = await house.openLane(KEYS.user, undefined, 'signed');
    const memory = createLaneMemory();
    const caller = await house.caller(KEYS.user, own, memory, 'signed');

    const first = await caller.invoke({ function: echo, body: bytes('one') });
    const ceilingAfterOne = memory.read().ceilingUnits;
    const second = await caller.invoke({ function: echo, body: bytes('two') });

    const seen = await first.response.json();
    assert.deepEqual([seen.body, seen.authorization, seen.call], ['one', null, null]);
    assert.equal(ceilingAfterOne, WORST_UNITS);
    assert.equal(memory.read().ceilingUnits, first.receipt.priceUnits + WORST_UNITS);
    assert.deepEqual([first.receipt.seq, second.receipt.seq], [1, 2]);
    await caller.acknowledge();
    assert.equal(memory.read().verifiedUnits, first.receipt.priceUnits + second.receipt.priceUnits);
  });

  it('run in parallel, each covered while it is in flight', async () => {
    const own = await house.openLane(KEYS.user, undefined, 'signed');
    const memory = createLaneMemory();
    const caller = await house.caller(KEYS.user, own, memory, 'signed');

    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) => caller.invoke({ function: echo, body: bytes(`${i}`) })),
    );

    const seqs = replies.map(({ receipt }) => receipt.seq).sort((a, b) => a - b);
    assert.deepEqual(
      seqs,
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
    await caller.acknowledge();
    assert.ok(memory.read().ceilingUnits <= 20n * WORST_UNITS);
  });

  it('leave a receipt over exactly the Call that was signed', async () => {
    const header = await headerOf('x');
    const { call, connection } = await send(header, 'x').then(async (reply) => {
      const session = await house.session(lane, { payer: KEYS.user, signer: lane });
      const id = reply.headers.get('defaas-receipt') ?? '';
      return { call: await fetchReceipt(session, id), connection: session.connection };
    });

    const sent = JSON.parse(Buffer.from(header, 'base64url').toString());
    assert.equal(`${call.call.nonce}`, sent.nonce);
    assert.equal(call.call.input, sent.input);
    assert.equal(call.salt, sent.salt);
    assert.equal(call.callSignature, sent.signature);
    const digest = hashSignedCall(connection.domain, call.call);
    assert.equal(recoverAddress(digest, call.callSignature ?? '0x'), lane.address);
  });

  it('repeat the answer under one nonce, charge once, and refuse another request under that nonce', async () => {
    const header = await headerOf('same', 'key-1');
    const replies = await Promise.all([1, 2, 3].map(() => send(header, 'same')));
    const signedAgain = await send(await headerOf('same', 'key-1'), 'same');

    const ids = [...replies, signedAgain].map((reply) => reply.headers.get('defaas-receipt'));
    const texts = await Promise.all([...replies, signedAgain].map((reply) => reply.text()));
    assert.equal(new Set(ids).size, 1);
    assert.equal(new Set(texts).size, 1);
    assert.deepEqual(await codeOf(await send(await headerOf('new', 'key-1'), 'new')), [
      422,
      'IDEMPOTENCY_MISMATCH',
    ]);
    const elsewhere = await send(await headerOf('same', 'key-1', other), 'same', other);
    assert.deepEqual(await codeOf(elsewhere), [422, 'IDEMPOTENCY_MISMATCH']);
  });

  it('are refused when any field differs from what was agreed', async () => {
    const nowSec = Math.floor(Date.now() / 1000);
    const latest = house.view.view.latestEpoch?.epoch ?? 0;
    const word = `0x${'11'.repeat(32)}`;
    const cases: [string, Record<string, unknown>, number, string][] = [
      ['another gateway', { gateway: KEYS.settler.address }, 400, 'CALL_INVALID'],
      ['a lane that is not open', { payer: KEYS.publisher.address }, 400, 'CALL_INVALID'],
      ['a deadline that is over', { deadlineSec: nowSec - 1 }, 400, 'CALL_INVALID'],
      ['a deadline too near to keep', { deadlineSec: nowSec + 20 }, 400, 'CALL_INVALID'],
      ['a deadline far ahead', { deadlineSec: nowSec + 3_600 }, 400, 'CALL_INVALID'],
      ['another input', { input: word }, 400, 'CALL_INVALID'],
      ['too low a price', { maxPrice: `${WORST_UNITS - 1n}` }, 402, 'PRICE_ABOVE_MAX'],
      ['another version', { functionVersion: word }, 409, 'CALL_STALE'],
      ['an epoch that is not recorded', { beacon: latest + 1_000 }, 409, 'CALL_STALE'],
    ];
    for (const [what, changes, status, code] of cases) {
      assert.deepEqual(await codeOf(await send(await altered(changes))), [status, code], what);
    }
    const stranger = await send(await altered({}, testKey(90)));
    assert.deepEqual(await codeOf(stranger), [400, 'CALL_INVALID']);
    for (const header of [
      'e30',
      'nonsense',
      textToBase64Url('[]'),
      textToBase64Url('{"nonce":1}'),
    ]) {
      assert.deepEqual(await codeOf(await send(header)), [400, 'CALL_INVALID'], header);
    }
  });

  it('are accepted in a signed lane and refused in a prepaid one', async () => {
    const prepaid = await house.openLane(KEYS.user);
    const session = await house.session(lane, { payer: KEYS.user, signer: lane });

    const withToken = await session.send(`/functions/${echo}`);
    const call = await (await signer(prepaid, prepaid)).sign({
      function: echo,
      request: { method: 'GET', target: '/', body: bytes('') },
      idempotencyKey: 'p',
      maxPriceUnits: undefined,
    });

    assert.deepEqual(await codeOf(withToken), [403, 'CALL_MISSING']);
    assert.deepEqual(await codeOf(await send(call.header)), [400, 'CALL_INVALID']);
  });

  it('are not signed by the client for more than the caller allows', async () => {
    const caller = await house.caller(KEYS.user, lane, createLaneMemory(), 'signed');

    await assert.rejects(caller.invoke({ function: echo, maxPriceUnits: 10n }), {
      code: 'PRICE_ABOVE_MAX',
    });
    await assert.rejects(caller.invoke({ function: `${KEYS.publisher.address}/none` }), {
      code: 'FUNCTION_UNKNOWN',
    });
  });

  it('are answered again after a restart, and settled with their signatures: the audit finds nothing', async () => {
    const header = await headerOf('kept', 'key-2');
    const before = await send(header, 'kept');
    await house.restart();
    const after = await send(header, 'kept');
    assert.equal(after.headers.get('idempotent-replayed'), 'true');
    assert.equal(after.headers.get('defaas-receipt'), before.headers.get('defaas-receipt'));
    const operator = await house.session(KEYS.gateway);

    const settled = await settle(operator);

    await house.view.synced();
    const getBlock = (cid: string) => fetchBlock(operator.connection, cid);
    const result = await audit({ view: house.view.view, domain: house.view.domain, getBlock });
    assert.deepEqual(result.findings, []);
    assert.ok(settled.receipts > 20);
    assert.deepEqual([result.receipts, result.unexplainedUnits], [settled.receipts, 0n]);
  });

  it('name an epoch that the gateway has announced', async () => {
    const { connection } = await house.session(KEYS.user);
    const version = await createChainReader(connection.chain).functionVersion(`${echo}@latest`);

    const reply = await connection.request(`/epochs/latest?version=${version}`);

    const { epoch, value } = await reply.json();
    assert.equal(house.view.view.epochOf(epoch)?.value, value);
    assert.deepEqual(await codeOf(await connection.send('/epochs/latest')), [
      400,
      'REQUEST_INVALID',
    ]);
  });
});
