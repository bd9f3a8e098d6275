// Sign-in at the gateway: every field of an ERC-4361 message counts, a nonce is good for one try,
// and what a stranger sends costs few questions to the chain.
import assert from 'node:assert/strict';
import { getAddress } from 'ethers';
import { createKeySigner } from '../../../broker/client/key.ts';
import { signVoucher } from '../../../broker/client/lane.ts';
import { createChainChecks } from '../../../broker/identity/chain-checks.ts';
import { createOnce } from '../../../broker/identity/once.ts';
import type { Hex } from '../../../contracts/libraries/keccak.ts';
import { type RpcProxy, startRpcProxy } from '../../contracts/rpc-proxy.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const JUNK: Hex = `0x${'11'.repeat(65)}`;
const MINUTE_MS = 60_000;
const ACCOUNT = getAddress(KEYS.user.address);

describe('a sign-in', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let rpc: RpcProxy;
  /** Methods asked about the account so far. */
  let asked: string[] = [];
  before(async () => {
    house = await startSmallHouse();
    rpc = await startRpcProxy(() => house.chain.url);
    rpc.answer(({ method, params: [of = null] }) => {
      // The gateway asks other questions in the background.
      if (JSON.stringify(of).includes(KEYS.user.address)) asked.push(method);
      return undefined;
    });
    await house.restart({ chainRpcUrls: [rpc.url] });
  });
  after(async () => {
    await house?.close();
    await rpc?.close();
  });

  const freshNonce = async (): Promise<string> =>
    (await (await fetch(`${house.url()}/oauth/nonce`, { method: 'POST' })).json()).nonce;
  /** The lines of a message, some of them changed. */
  const messageOf = async (changes: Record<string, string> = {}, more: readonly string[] = []) => {
    const now = Date.now();
    const { first, account, ...fields } = {
      first: `${new URL(house.url()).host} wants you to sign in with your Ethereum account:`,
      account: ACCOUNT,
      URI: house.url(),
      Version: '1',
      'Chain ID': '31337',
      Nonce: await freshNonce(),
      'Issued At': new Date(now).toISOString(),
      'Expiration Time': new Date(now + 4 * MINUTE_MS).toISOString(),
      ...changes,
    };
    const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}`);
    return [first, account, '', '', ...lines, ...more].join('\n');
  };
  const send = async (message: string, signature?: Hex) => {
    const key = await createKeySigner(KEYS.user.privateKey);
    const signed = { message, signature: signature ?? (await key.signText(message)) };
    const reply = await fetch(`${house.url()}/oauth/token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token_type: 'urn:defaas:params:oauth:token-type:siwe',
        subject_token: Buffer.from(JSON.stringify(signed)).toString('base64url'),
      }),
    });
    const { code, error_description: why } = await reply.json();
    return { status: reply.status, code, why: String(why) };
  };

  it('uses up its nonce, also when it fails: a hundred tries ask the chain once', async () => {
    const message = await messageOf();
    asked = [];

    const first = await send(message, JUNK);
    const others = await Promise.all(Array.from({ length: 99 }, () => send(message, JUNK)));
    const right = await send(message);

    assert.deepEqual(asked, ['eth_call']);
    assert.match(first.why, /signature/);
    for (const { status, why } of [...others, right]) {
      assert.equal(status, 400);
      assert.match(why, /nonce is unknown, used or too old/);
    }
    assert.equal((await send(await messageOf())).status, 200);
  });

  it('has only so many checks under way on the chain, of one client and of all', async () => {
    const checks = createChainChecks();
    const { promise, resolve } = Promise.withResolvers<void>();
    let asked = 0;
    const ask = (client: string) =>
      checks
        .run(client, () => {
          asked += 1;
          return promise;
        })
        .catch(({ code }) => code);

    const mine = Array.from({ length: 10 }, () => ask('a'));
    const ofOne = asked;
    const others = Array.from({ length: 50 }, (_, n) => ask(`b${n}`));
    const ofAll = asked;
    resolve();
    const codes = await Promise.all([...mine, ...others]);
    await ask('a');

    assert.deepEqual([ofOne, ofAll, asked], [4, 32, 33]);
    assert.equal(codes.filter((code) => code === 'RATE_LIMITED').length, 28);
  });

  it('is refused by the field that is wrong, and the reply names it', async () => {
    const { port } = new URL(house.url());
    const wrong: [Record<string, string>, RegExp, (readonly string[])?][] = [
      [
        { first: 'evil.example wants you to sign in with your Ethereum account:' },
        /the domain is evil.example/,
      ],
      [
        { first: `https://127.0.0.1:${port} wants you to sign in with your Ethereum account:` },
        /scheme .* https/,
      ],
      [{ URI: 'https://evil.example/login' }, /the URI is https:\/\/evil.example\/login/],
      [{ URI: `https://127.0.0.1:${port}` }, /the URI is https:/],
      [{ URI: `http://127.0.0.1.evil.example:${port}` }, /the URI is/],
      [{ URI: 'urn:a:b' }, /the URI is urn:a:b/],
      [{ 'Chain ID': '1' }, /the chain is 1, not 31337/],
      [{ Nonce: '0123456789abcdef' }, /the nonce is unknown/],
      [
        { 'Expiration Time': new Date(Date.now() + 6 * MINUTE_MS).toISOString() },
        /300 s after Issued At/,
      ],
      [{}, /Not Before/, [`Not Before: ${new Date(Date.now() + MINUTE_MS).toISOString()}`]],
      [{}, /no lane in lower case/, ['Resources:', '- urn:defaas:lane:0xAB']],
      [{}, /lane is not open/, ['Resources:', `- ${laneUrn(KEYS.user.address)}`]],
      [
        {},
        /more than one lane/,
        ['Resources:', ...[1, 2].map(() => `- ${laneUrn(KEYS.user.address)}`)],
      ],
      [{}, /not the signer’s/, ['Resources:', `- ${laneUrn(KEYS.publisher.address)}`]],
      [{ account: KEYS.user.address }, /: invalid EIP-55 address/],
      [{ URI: 'no uri' }, /: invalid URI/],
      [{ Version: '2' }, /: invalid version/],
      [{ 'Chain ID': 'main' }, /: invalid chain-id/],
      [{ Nonce: 'a-b' }, /: invalid nonce/],
      [{ 'Issued At': 'now' }, /: invalid issued-at/],
      [{ 'Issued At': '2026-02-30T00:00:00Z' }, /: invalid issued-at/],
      [{ 'Expiration Time': '2026-13-01T00:00:00Z' }, /: invalid expiration-time/],
      [{}, /line 11: is not|line 11 is not/, ['']],
    ];
    for (const [changes, why, more] of wrong) {
      const reply = await send(await messageOf(changes, more));
      assert.deepEqual([reply.status, reply.code], [400, 'SIGN_IN_REFUSED'], `${why}`);
      assert.match(reply.why, why);
    }
    const crlf = await send((await messageOf()).replaceAll('\n', '\r\n'));
    assert.match(crlf.why, /CRLF/);
    const right = [
      await messageOf({ URI: `${house.url()}/oauth/token` }),
      await messageOf({
        first: `http://127.0.0.1:${port} wants you to sign in with your Ethereum account:`,
      }),
      await messageOf({}, [
        'Not Before: 2026-01-01T00:00:00Z',
        'Request ID: 7',
        'Resources:',
        '- https://a.example/',
      ]),
    ];
    for (const message of right) assert.equal((await send(message)).status, 200, message);
  });
  const laneUrn = (payer: string) => `urn:defaas:lane:${payer}:${house.account}:${payer}`;

  it('by a clock that is minutes behind is told by how much', async () => {
    const at = (ms: number) => new Date(Date.now() + ms).toISOString();
    const behind = { 'Issued At': at(-4 * MINUTE_MS), 'Expiration Time': at(0) };

    const { why } = await send(await messageOf(behind));

    const [, seconds] = /your clock is (\d+) s behind/.exec(why) ?? assert.fail(why);
    assert.ok(Math.abs(Number(seconds) - 240) < 60, why);
  });

  it('with a nonce that may have been forgotten is refused', () => {
    let nowMs = 1_000;
    const once = createOnce({ lifeMs: 300_000, max: 10, nowMs: () => nowMs });
    assert.ok(once.take('mine') && !once.take('mine'));
    assert.equal(once.sinceMs(), 1_000);

    for (let n = 0; n < 30; n += 1) {
      nowMs += 1;
      once.take(`${n}`);
    }

    assert.ok(!once.has('mine') && once.sinceMs() > 1_000);
  });

  it('is not what vouchers need, yet they ask the chain once per block at most', async () => {
    const payer = KEYS.user;
    const { connection } = await house.session(payer);
    const stranger = await createKeySigner(KEYS.publisher.privateKey);
    const writer = house.view.connect(payer);
    await writer.mintMock(10n);
    const block = await writer.depositAllotOpenLane({
      amount: 10n,
      gateway: house.account,
      lane: {
        signer: payer.address,
        cap: 1n,
        expirySec: Math.floor(Date.now() / 1000) + 86_400,
        mode: 1,
      },
    });
    await house.gateway().chain.synced(block);
    const lane = { payer: payer.address, signer: payer.address };
    const signature = await signVoucher(connection, stranger, payer.address, 5n);
    const url = `${house.url()}/lanes/${lane.payer}/${lane.signer}/voucher`;
    const body = JSON.stringify({ ceiling: '5', signature });
    const put = () =>
      fetch(url, { method: 'PUT', headers: { 'content-type': 'application/json' }, body });

    asked = [];
    const replies = await Promise.all(Array.from({ length: 20 }, put));

    for (const reply of replies) assert.equal((await reply.json()).code, 'VOUCHER_INVALID');
    assert.deepEqual(asked, ['eth_getCode']);
  });
});
