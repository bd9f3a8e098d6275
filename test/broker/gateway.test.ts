// The gateway as a caller meets it, over HTTP, on a real chain and a cloud that runs the code.
import assert from 'node:assert/strict';
import { fetchBlock } from '../../broker/client/artifacts.ts';
import { audit } from '../../broker/client/audit.ts';
import { createLaneMemory } from '../../broker/client/lane-memory.ts';
import { fetchReceipts } from '../../broker/client/receipts.ts';
import { settle } from '../../broker/client/settlement.ts';
import { signInMessage } from '../../broker/client/sign-in.ts';
import { ChainError } from '../../contracts/chain/chain-error.ts';
import { describeBothWays } from './both-ways.ts';
import { KEYS, ownHeaders, type SmallHouse, startSmallHouse } from './small-house.ts';

const HELLO = `export default async (request, context) =>
  Response.json({ hello: new URL(request.url).searchParams.get('name'), provider: context.provider });`;
const ECHO = `let runs = 0;
export default async (request) => {
  const mode = new URL(request.url).searchParams.get('mode');
  if (mode === 'throw') throw new TypeError('on purpose');
  if (mode === 'sleep') await new Promise((resolve) => setTimeout(resolve, 60_000));
  if (mode === 'exit') process.exit(3);
  if (mode === 'teapot') return new Response('short and stout', { status: 418 });
  if (mode === 'page') return new Response('<script>1</script>', { headers: {
    'content-type': 'text/html', 'set-cookie': 'a=1', 'service-worker-allowed': '/', 'x-own': 'yes', 'defaas-receipt': 'forged' } });
  runs += 1;
  const headers = Object.fromEntries(request.headers);
  return Response.json({ runs, method: request.method, path: new URL(request.url).pathname, headers, body: await request.text() });
};`;

async function problem(
  reply: Response,
  status: number,
  code: string,
): Promise<Record<string, unknown>> {
  const body = await reply.json();
  assert.deepEqual([reply.status, body.code], [status, code], JSON.stringify(body));
  assert.match(reply.headers.get('content-type') ?? '', /^application\/problem\+json/);
  return body;
}

describeBothWays('the gateway', function (fastPath) {
  this.timeout(120_000);
  let house: SmallHouse;
  let hello: string;
  let echo: string;
  let sleeper: string;
  let lane: Awaited<ReturnType<SmallHouse['openLane']>>;
  let caller: Awaited<ReturnType<SmallHouse['caller']>>;
  before(async () => {
    house = await startSmallHouse({ fastPath });
    hello = await house.publish('hello', HELLO, {
      payer: 'publisher',
      idempotent: true,
      cors: { origins: ['https://page.example'], headers: ['X-Mine'] },
    });
    echo = await house.publish('echo', ECHO);
    // Only the function that never ends has a short timeout: on a busy machine others would exceed
    // it.
    sleeper = await house.publish('sleeper', ECHO, { timeoutMs: 1000 });
    lane = await house.openLane(KEYS.user);
    caller = await house.caller(KEYS.user, lane);
  });
  after(() => house.close());

  const body = (text: string) => new Uint8Array(Buffer.from(text, 'utf8'));

  it('answers a paid call with the function’s answer and a receipt that the client verifies', async () => {
    const { response, receipt } = await caller.invoke({
      function: echo,
      path: '/a%20b?q=1',
      headers: { 'x-mine': 'ä'.normalize().length === 1 ? 'v' : '', 'content-type': 'text/plain' },
      body: body('grüße'),
    });

    const seen = await response.json();
    assert.equal(response.status, 200);
    assert.deepEqual([seen.method, seen.path, seen.body], ['POST', '/a%20b', 'grüße']);
    assert.equal(seen.headers['x-mine'], 'v');
    assert.equal(seen.headers.authorization, undefined);
    assert.equal(seen.headers['defaas-voucher'], undefined);
    assert.equal(receipt.provider, 'aws-lambda');
    assert.ok(receipt.priceUnits >= 20n);
    await caller.acknowledge();
  });

  it('gives each receipt the next number in its lane, without a gap, under parallel calls', async () => {
    const key = await house.openLane(KEYS.user);
    const mine = await house.caller(KEYS.user, key);

    const replies = await Promise.all(
      Array.from({ length: 20 }, () => mine.invoke({ function: echo })),
    );

    const seqs = replies.map(({ receipt }) => receipt.seq).sort((a, b) => a - b);
    assert.deepEqual(
      seqs,
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
    await mine.acknowledge();
  });

  it('charges the publisher for a call without a token, once the publisher sponsors it', async () => {
    const empty = await fetch(`${house.url()}/functions/${hello}?name=you`);
    await problem(empty, 402, 'SPONSOR_EMPTY');
    await house.sponsor(hello);

    const reply = await fetch(`${house.url()}/functions/${hello}?name=you`);

    assert.deepEqual(
      [reply.status, await reply.json()],
      [200, { hello: 'you', provider: 'aws-lambda' }],
    );
    assert.match(reply.headers.get('link') ?? '', /rel="receipt"/);
  });

  it('answers CORS preflights as the version declares, and lets a page read its receipt', async () => {
    const url = `${house.url()}/functions/${hello}`;
    const ask = (origin: string, method = 'OPTIONS') =>
      fetch(url, { method, headers: { origin, 'access-control-request-method': 'POST' } });

    const preflight = await ask('https://page.example');
    const reply = await ask('https://page.example', 'GET');
    const stranger = await ask('https://evil.example', 'GET');
    const nobody = await fetch(url);

    assert.equal(preflight.status, 204);
    assert.equal(preflight.headers.get('access-control-allow-origin'), 'https://page.example');
    assert.match(
      preflight.headers.get('access-control-allow-headers') ?? '',
      /Defaas-Voucher.*X-Mine/,
    );
    assert.equal(preflight.headers.get('defaas-receipt'), null);
    assert.match(reply.headers.get('access-control-expose-headers') ?? '', /Defaas-Receipt/);
    assert.equal(stranger.headers.get('access-control-allow-origin'), null);
    // A cache must not serve one origin's reply to another origin.
    assert.deepEqual(
      [stranger, nobody].map(({ headers }) => headers.get('vary')),
      ['Origin', 'Origin'],
    );
  });

  it('accepts the name of a function, a version or an alias, and answers anything else with 404', async () => {
    for (const reference of ['@1', '@latest', '%401']) {
      const reply = await fetch(`${house.url()}/functions/${hello}${reference}`);
      assert.equal(reply.status, 200, reference);
    }
    for (const path of [`${hello}@2`, `${hello}x`, 'nobody/hello', `${hello}@..`]) {
      const reply = await fetch(`${house.url()}/functions/${path}`);
      assert.equal((await reply.json()).code, 'FUNCTION_UNKNOWN', path);
    }
    await problem(await fetch(`${house.url()}/nothing`), 404, 'ROUTE_UNKNOWN');
  });

  it('asks for a token where the caller pays, and refuses a bad one', async () => {
    const url = `${house.url()}/functions/${echo}`;
    const missing = await fetch(url);
    assert.equal(missing.headers.get('www-authenticate'), 'Bearer, DPoP algs="ES256 EdDSA"');
    await problem(missing, 401, 'TOKEN_MISSING');
    for (const authorization of ['Bearer nonsense', 'Basic YTpi', 'Bearer a.b.c']) {
      await problem(await fetch(url, { headers: { authorization } }), 401, 'TOKEN_INVALID');
    }
  });

  it('refuses a sign-in that is replayed, for another host, or for another’s lane', async () => {
    const other = await house.openLane(KEYS.publisher);
    const session = await house.session(KEYS.user, { payer: KEYS.publisher, signer: other });

    await assert.rejects(session.request('/lanes/x/y'), { code: 'SIGN_IN_REFUSED' });
    const { connection, key } = await house.session(KEYS.user);
    const signInAt = async (origin: string, nonce: string) => {
      const issuedAtMs = Date.now();
      const address = key.address;
      const message = signInMessage({
        connection: { ...connection, origin },
        address,
        nonce,
        issuedAtMs,
      });
      const subject = JSON.stringify({ message, signature: await key.signText(message) });
      return fetch(`${house.url()}/oauth/token`, {
        method: 'POST',
        body: new URLSearchParams({
          grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
          subject_token_type: 'urn:defaas:params:oauth:token-type:siwe',
          subject_token: Buffer.from(subject).toString('base64url'),
        }),
      });
    };
    const nonceOf = async () =>
      (await (await connection.request('/oauth/nonce', { method: 'POST' })).json()).nonce;
    await problem(await signInAt('http://evil.example', await nonceOf()), 400, 'SIGN_IN_REFUSED');
    const nonce = await nonceOf();
    await problem(await signInAt(house.url(), 'f'.repeat(60)), 400, 'SIGN_IN_REFUSED');
    assert.equal((await signInAt(house.url(), nonce)).status, 200);
    await problem(await signInAt(house.url(), nonce), 400, 'SIGN_IN_REFUSED');
  });

  it('says in a 402 exactly what is missing', async () => {
    const key = await house.openLane(KEYS.user, 50n);
    const session = await house.session(key, { payer: KEYS.user, signer: key });

    const noVoucher = await problem(
      await session.send(`/functions/${echo}`, { headers: ownHeaders(key, echo) }),
      402,
      'PAYMENT_REQUIRED',
    );

    const { reason, needUnits, ceilingUnits, payer, signer, gateway } = noVoucher;
    assert.deepEqual(
      { reason, needUnits, ceilingUnits, payer, signer, gateway },
      {
        reason: 'ceiling',
        needUnits: '45',
        ceilingUnits: '0',
        payer: KEYS.user.address,
        signer: key.address,
        gateway: KEYS.gateway.address,
      },
    );
    const poor = await house.caller(KEYS.user, key);
    await poor.invoke({ function: echo });
    await assert.rejects(poor.invoke({ function: echo }), (error: Error & { problem?: object }) => {
      assert.deepEqual(Object(error.problem).reason, 'cap');
      return true;
    });
  });

  it('refuses a voucher signed by another key and a malformed voucher', async () => {
    const session = await house.session(lane, { payer: KEYS.user, signer: lane });
    for (const voucher of ['1000000:0x00', 'x', `9999999:0x${'11'.repeat(65)}`]) {
      const reply = await session.send(`/functions/${echo}`, {
        headers: { 'defaas-voucher': voucher, ...ownHeaders(lane, echo) },
      });
      await problem(reply, 400, 'VOUCHER_INVALID');
    }
  });

  it('refuses, before it runs, a call that may cost more than the caller allows', async () => {
    await assert.rejects(caller.invoke({ function: echo, maxPriceUnits: 10n }), {
      code: 'PRICE_ABOVE_MAX',
    });
  });

  it('says beside the price of each answer, also of a failed call, in which unit it is', async () => {
    for (const path of ['/', '/?mode=throw']) {
      const { response } = await caller.invoke({ function: echo, path });

      assert.match(response.headers.get('defaas-price') ?? '', /^\d+$/);
      assert.equal(response.headers.get('defaas-price-unit'), '0.000001 token');
    }
  });

  for (const [mode, status, code] of [
    ['throw', 502, 'FUNCTION_FAILED'],
    ['exit', 502, 'FUNCTION_FAILED'],
    ['sleep', 504, 'FUNCTION_TIMEOUT'],
  ] as const) {
    it(`charges nothing when the function fails (${mode}), and leaves a receipt that says so`, async () => {
      const failing = mode === 'sleep' ? sleeper : echo;
      const path = `/?mode=${mode}`;
      const { response, receipt } = await caller.invoke({ function: failing, path });

      await problem(response, status, code);
      assert.equal(receipt.priceUnits, 0n);
    });
  }

  it('charges for any Response, also for one with an error status', async () => {
    const { response, receipt } = await caller.invoke({ function: echo, path: '/?mode=teapot' });

    assert.deepEqual([response.status, await response.text()], [418, 'short and stout']);
    assert.ok(receipt.priceUnits > 0n);
  });

  it('denies a stranger’s page everything that the browser stores for the gateway', async () => {
    const { response } = await caller.invoke({ function: echo, path: '/?mode=page' });

    const { headers } = response;
    assert.equal(headers.get('content-security-policy'), 'sandbox allow-scripts allow-forms');
    assert.equal(headers.get('x-content-type-options'), 'nosniff');
    assert.equal(headers.get('x-own'), 'yes');
    for (const dropped of ['set-cookie', 'service-worker-allowed'])
      assert.equal(headers.get(dropped), null);
    assert.match(headers.get('defaas-receipt') ?? '', /^0x[0-9a-f]{64}$/);
  });

  it('repeats its answer under one Idempotency-Key, charges once, and refuses another request under that key', async () => {
    const keyed = { function: echo, idempotencyKey: 'key-1', body: body('one') };
    const replies = await Promise.all([1, 2, 3].map(() => caller.invoke(keyed)));
    const later = await caller.invoke(keyed);

    const ids = new Set([...replies, later].map(({ receipt }) => receipt.id));
    const texts = new Set(
      await Promise.all([...replies, later].map(({ response }) => response.text())),
    );
    assert.deepEqual([ids.size, texts.size], [1, 1]);
    await assert.rejects(caller.invoke({ ...keyed, body: body('two') }), {
      code: 'IDEMPOTENCY_MISMATCH',
    });
  });

  it('uses an Idempotency-Key that the caller sets as a header, also through the library', async () => {
    const ask = async () => {
      const headers = { 'Idempotency-Key': 'order-of-its-own' };
      const { receipt, idempotencyKey } = await caller.invoke({ function: echo, headers });
      return [receipt.id, idempotencyKey];
    };

    const [first, again] = [await ask(), await ask()];

    assert.deepEqual(first, again);
    assert.equal(first[1], 'order-of-its-own');
  });

  it('accepts a CloudEvent in both modes, deduplicates it by source and id, and refuses a malformed one', async () => {
    const binary = { 'ce-specversion': '1.0', 'ce-type': 't', 'ce-source': '/s', 'ce-id': 'e1' };
    const session = await house.session(lane, { payer: KEYS.user, signer: lane });
    const send = (headers: Record<string, string>, text: string) =>
      session.send(`/functions/${echo}`, {
        method: 'POST',
        headers: { ...headers, ...ownHeaders(lane, echo) },
        body: text,
      });

    const first = await (
      await send({ ...binary, 'content-type': 'application/json' }, '{"a":1}')
    ).json();
    const again = await (
      await send({ ...binary, 'content-type': 'application/json' }, '{"a":1}')
    ).json();
    const inOtherMode = await (
      await send(
        { 'content-type': 'application/cloudevents+json', 'user-agent': 'another' },
        JSON.stringify({ specversion: '1.0', type: 't', source: '/s', id: 'e1', data: { a: 1 } }),
      )
    ).json();
    const changed = await send({ ...binary, 'content-type': 'application/json' }, '{"a":2}');
    const half = await send({ 'ce-specversion': '1.0', 'ce-id': 'e3' }, '{}');
    const structured = await send(
      { 'content-type': 'application/cloudevents+json' },
      JSON.stringify({ specversion: '1.0', type: 't', source: '/s', id: 'e2', data: 1 }),
    );
    const broken = await send({ ...binary, 'ce-time': 'noon' }, '');

    assert.deepEqual([first.headers['ce-id'], first.body], ['e1', '{"a":1}']);
    assert.deepEqual([again, inOtherMode], [first, first]);
    await problem(changed, 422, 'IDEMPOTENCY_MISMATCH');
    assert.equal((await problem(half, 400, 'EVENT_INVALID')).attribute, 'source');
    assert.equal(structured.status, 200);
    assert.equal((await problem(broken, 400, 'EVENT_INVALID')).attribute, 'time');
  });

  it('refuses a body above the cloud’s limit before anything runs', async () => {
    const large = new Uint8Array(7 * 1024 * 1024);

    await assert.rejects(caller.invoke({ function: echo, body: large }), {
      code: 'BODY_TOO_LARGE',
    });
  });

  it('loses no call and charges for none when the cloud is down, and sends Retry-After', async () => {
    house.aws.faults.set([{ kind: 'outage', scope: 'invoke' }]);
    try {
      const session = await house.session(lane, { payer: KEYS.user, signer: lane });
      const before = house.gateway().lanes.lane(KEYS.user.address, lane.address).seq;

      const headers = ownHeaders(lane, echo);
      const reply = await session.send(`/functions/${echo}`, { headers });

      assert.ok(Number(reply.headers.get('retry-after')) > 0);
      await problem(reply, 503, 'PROVIDERS_DOWN');
      const after = house.gateway().lanes.lane(KEYS.user.address, lane.address);
      assert.deepEqual([after.seq, after.held], [before, 0n]);
    } finally {
      house.aws.faults.clear();
    }
  });

  it('charges nothing for an unknown outcome of a version that is not idempotent, and never runs the same key again', async () => {
    house.aws.faults.set([{ on: { operation: 'Invoke' }, kind: 'drop-after', times: 1 }]);
    const keyed = { function: echo, idempotencyKey: 'unknown-1' };

    const { response, receipt } = await caller.invoke(keyed);
    const again = await caller.invoke(keyed);

    house.aws.faults.clear();
    await problem(response, 409, 'INVOCATION_UNKNOWN');
    await problem(again.response, 409, 'INVOCATION_UNKNOWN');
    assert.deepEqual([receipt.priceUnits, again.receipt.id], [0n, receipt.id]);
  });

  it('shows a receipt to anybody, its salt to its payer, and a lane’s receipts to its owner only', async () => {
    const { receipt } = await caller.invoke({ function: echo });
    const own = await house.session(lane, { payer: KEYS.user, signer: lane });

    const seenByAll = await (await fetch(`${house.url()}/receipts/${receipt.id}`)).json();
    const seenByOwner = await (await own.request(`/receipts/${receipt.id}`)).json();
    const stranger = await house.session(KEYS.publisher);
    const refused = await stranger.send(`/receipts?lane=${KEYS.user.address}:${lane.address}`);

    assert.equal(seenByAll.salt, undefined);
    assert.match(seenByOwner.salt, /^0x[0-9a-f]{64}$/);
    await problem(refused, 404, 'LANE_UNKNOWN');
    await problem(await fetch(`${house.url()}/receipts/0x12`), 404, 'RECEIPT_UNKNOWN');
  });

  it('uses up no Idempotency-Key while nothing has run, whatever failed', async () => {
    const gateway = house.gateway();
    const { drawFor } = gateway.beacon;
    const broken = async () => {
      throw new ChainError('CHAIN_UNREACHABLE', 'no RPC answers');
    };
    const ask = () => caller.invoke({ function: echo, idempotencyKey: 'not-burnt' });
    Object.assign(gateway.beacon, { drawFor: broken });

    await assert.rejects(ask(), { code: 'CHAIN_UNREACHABLE' });
    Object.assign(gateway.beacon, { drawFor });

    assert.equal((await ask()).response.status, 200);
  });

  it('stops serving a key at the block in which its payer closes the lane', async () => {
    const key = await house.openLane(KEYS.user);
    const mine = await house.caller(KEYS.user, key);
    await mine.invoke({ function: echo });
    const writer = house.view.connect(KEYS.user);

    const block = await writer.closeLane(KEYS.gateway.address, key.address);
    await house.gateway().chain.synced(block);

    await assert.rejects(mine.invoke({ function: echo }), { code: 'PAYMENT_REQUIRED' });
  });

  it('continues after a restart with the same receipt numbers, ceilings, kept answers and routes', async () => {
    const keyed = { function: echo, idempotencyKey: 'across-restart' };
    const memory = createLaneMemory();
    const before = await (await house.caller(KEYS.user, lane, memory)).invoke(keyed);

    await house.restart();

    const mine = await house.caller(KEYS.user, lane, memory);
    const replayed = await mine.invoke(keyed);
    const fresh = await mine.invoke({ function: echo });
    assert.equal(replayed.receipt.id, before.receipt.id);
    assert.equal(fresh.receipt.seq, before.receipt.seq + 1);
    caller = mine;
  });

  it('settles only for the operator, in one transaction, and the audit explains every unit', async () => {
    await problem(
      await (await house.session(KEYS.user)).send('/settlements', { method: 'POST' }),
      403,
      'OPERATOR_ONLY',
    );
    const operator = await house.session(KEYS.gateway);

    const settled = await settle(operator);

    await house.view.synced();
    const getBlock = (cid: string) => fetchBlock(operator.connection, cid);
    const result = await audit({ view: house.view.view, domain: house.view.domain, getBlock });
    assert.deepEqual(result.findings, []);
    assert.deepEqual(
      [result.receipts, result.proven, result.unexplainedUnits, result.totalUnits],
      [settled.receipts, settled.receipts, 0n, settled.totalUnits],
    );
    await assert.rejects(settle(operator), { code: 'NOTHING_TO_SETTLE' });
    const list = fetchReceipts(
      await house.session(lane, { payer: KEYS.user, signer: lane }),
      { payer: KEYS.user.address, signer: lane.address },
      0,
    );
    for await (const document of list) assert.equal(document.settled, true);
  });

  it('finds in the audit the block that is missing and the one that was altered', async () => {
    const { connection } = await house.session(KEYS.user);
    const view = house.view.view;
    const options = { view, domain: house.view.domain };

    const missing = await audit({ ...options, getBlock: () => Promise.reject(new Error('gone')) });
    const altered = await audit({
      ...options,
      getBlock: async (cid) => {
        const bytes = await fetchBlock(connection, cid);
        return new Uint8Array([...bytes.subarray(1), 0]);
      },
    });

    assert.equal(missing.findings[0]?.code, 'BATCH_BLOCK_MISSING');
    assert.equal(missing.unexplainedUnits, missing.totalUnits);
    assert.equal(altered.findings[0]?.code, 'BATCH_BLOCK_ALTERED');
  });

  it('deploys only what the function’s owner asks for, on clouds that exist', async () => {
    const user = await house.session(KEYS.user);
    const owner = await house.session(KEYS.publisher);
    const put = (session: typeof user, value: unknown) =>
      session.send(`/functions/${hello}/deployments`, {
        method: 'PUT',
        body: JSON.stringify(value),
      });

    await problem(await put(user, { providers: ['aws-lambda'] }), 403, 'NOT_OWNER');
    await problem(await put(owner, { providers: ['ibm'] }), 400, 'REQUEST_INVALID');
    await problem(await put(owner, { providers: [] }), 400, 'REQUEST_INVALID');
    await problem(await fetch(`${house.url()}/deployments/none`), 404, 'DEPLOYMENT_UNKNOWN');
  });

  it('refuses publishers that the operator has not named', async () => {
    await house.restart({ publishers: [KEYS.gateway.address] });

    const owner = await house.session(KEYS.publisher);
    const reply = await owner.send(`/functions/${hello}/deployments`, {
      method: 'PUT',
      body: JSON.stringify({ providers: ['aws-lambda'] }),
    });

    await problem(reply, 403, 'PUBLISHER_NOT_ALLOWED');
  });

  it('stops sponsoring at the day’s limit', async () => {
    await house.restart({ sponsorDailyUnits: 1n });

    await problem(await fetch(`${house.url()}/functions/${hello}`), 402, 'SPONSOR_EMPTY');
  });

  it('stops calling a failing function once its free failures are used up', async () => {
    await house.restart({ freeFailureMsPerHour: 1 });
    const mine = await house.caller(KEYS.user, await house.openLane(KEYS.user));
    await mine.invoke({ function: echo, path: '/?mode=throw' });

    await assert.rejects(mine.invoke({ function: echo }), {
      code: 'FUNCTION_FAILING',
      status: 503,
    });
  });

  it('describes itself, and reports that it is healthy', async () => {
    const document = await (await fetch(`${house.url()}/.well-known/defaas`)).json();
    const ready = await fetch(`${house.url()}/readyz`);

    assert.equal(document.gateway, KEYS.gateway.address);
    assert.deepEqual(document.providers, ['aws-lambda']);
    assert.equal(ready.status, 200);
    await problem(await fetch(`${house.url()}/batches/99`), 404, 'BATCH_UNKNOWN');
    await problem(await fetch(`${house.url()}/ipfs/bafkqaaa?format=zip`), 400, 'REQUEST_INVALID');
  });
});
