// An access token for curl: it pays from the newest lane once a voucher covers the call, and says
// when it ends.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { mandatedNonce } from '../../../broker/client/mandates.ts';
import { createServiceSender } from '../../../broker/client/service-account.ts';
import { deposit } from '../../../scripts/cli/deposit.ts';
import { openStore } from '../../../scripts/cli/store.ts';
import { token } from '../../../scripts/cli/token.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';

const ECHO = 'export default async (request) => new Response(await request.text());';

describe('defaas token', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let cli: CommandLine;
  let echo: string;
  before(async () => {
    house = await startSmallHouse();
    cli = createCommandLine(house);
    echo = await house.publish('echo', ECHO);
  });
  after(async () => {
    cli.remove();
    await house.close();
  });

  const call = (accessToken: string) =>
    fetch(`${house.url()}/functions/${echo}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${accessToken}` },
      body: 'by curl',
    });

  it('needs a deposit, unless the token is for the control routes alone', async () => {
    await assert.rejects(token(cli.flags(), {}), { code: 'LANE_UNKNOWN' });
    await assert.rejects(token(cli.flags(), { control: true, allow: '1' }), { code: 'USAGE' });

    const control = await documentOf(token(cli.flags(), { control: true }));

    assert.equal(control.lane, null);
    const reply = await call(control.accessToken);
    assert.equal((await reply.json()).code, 'TOKEN_INVALID');
  });

  it('prints a token that pays for calls within its allowance, and ends within 10 minutes', async () => {
    await deposit(cli.flags(), '1', { to: 'lane' });
    await house.gateway().chain.synced();

    const bare = await documentOf(token(cli.flags(), {}));
    const answered = await call(bare.accessToken);
    const little = await documentOf(token(cli.flags(), { allow: '0.00006', function: echo }));
    const first = await call(little.accessToken);
    const second = await call(little.accessToken);
    const { text } = await token(cli.flags(), {});

    assert.deepEqual([answered.status, await answered.text()], [200, 'by curl']);
    assert.deepEqual([bare.tokenType, bare.allowedUnits], ['Bearer', '100000']);
    assert.equal(first.status, 200);
    assert.equal((await second.json()).code, 'MANDATE_EMPTY');
    const { mode, cap } =
      house.view.view.lane(KEYS.user.address, KEYS.gateway.address, little.lane.signer) ??
      assert.fail();
    assert.deepEqual([mode, cap], [1, 60n]);
    const leftMs = Date.parse(bare.expiresAt) - Date.now();
    assert.ok(leftMs > 0 && leftMs <= 600_000);
    assert.match(text ?? '', /^[\w-]+\.[\w-]+\.[\w-]+$/);
  });

  it('lets nobody make one of the payer’s own calls, or call another function', async () => {
    const { accessToken, lane } = await documentOf(token(cli.flags(), { function: echo }));
    const other = await house.publish('other', ECHO);
    const ask = (fn: string) =>
      fetch(`${house.url()}/functions/${fn}`, {
        headers: {
          authorization: `Bearer ${accessToken}`,
          'defaas-nonce': `0x${'11'.repeat(32)}`,
          'defaas-max-price': '100000',
        },
      });

    const made = await ask(echo);
    const elsewhere = await ask(other);

    const own = await house.session(KEYS.user);
    const receipt = await (await own.request(made.headers.get('link')?.slice(1, 77) ?? '')).json();
    assert.notEqual(receipt.call.nonce, `0x${'11'.repeat(32)}`);
    assert.equal(mandatedNonce(receipt.call.authority, receipt.item), receipt.call.nonce);
    assert.equal(receipt.call.signer, lane.signer);
    assert.equal((await elsewhere.json()).code, 'MANDATE_EMPTY');
    const stranger = await (await fetch(`${house.url()}/receipts/${receipt.id}`)).json();
    assert.equal(stranger.item, undefined);
  });

  it('creates a service account that pays for calls with its own key and lane within its daily limit, and stops it', async () => {
    await deposit(cli.flags(), '1', { to: 'lane' });
    await house.gateway().chain.synced();
    const terms = { service: 'ci', daily: '0.00006', days: '3', function: echo };

    const made = await documentOf(token(cli.flags(), terms));
    const { clientId, jwk } = JSON.parse(readFileSync(made.keyFile, 'utf8'));
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
    const privateKey = await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['sign']);
    const connection = await house.connect();
    const sender = () => createServiceSender({ connection, clientId, privateKey });
    const ask = async (name = echo) => (await sender().send(`/functions/${name}`)).status;
    const first = await ask();
    const other = await house.publish('elsewhere', ECHO);
    const elsewhere = await ask(other);
    const beyond = await ask();
    const again = await documentOf(token(cli.flags(), { ...terms, daily: '0.0002', renew: true }));
    const more = await ask();
    const key = readFileSync(made.keyFile, 'utf8');
    const { mode } = statSync(made.keyFile);
    const { chainId, contracts } = house.view;
    const store = openStore(cli.home, `${chainId}:${contracts.billing}:${house.account}`);
    const days = store.renewalDays(made.lane);
    await token(cli.flags(), { service: 'ci', stop: true });
    const after = store.renewalDays(made.lane);
    store.close();

    assert.deepEqual([made.clientId, clientId], [`${KEYS.user.address}:ci`, made.clientId]);
    assert.deepEqual([made.totalUnits, mode & 0o077], ['180', 0]);
    assert.deepEqual([first, elsewhere, beyond, more], [200, 402, 402, 200]);
    assert.deepEqual([again.lane, again.keyFile], [made.lane, made.keyFile]);
    assert.deepEqual([JSON.parse(key).jwk, days, after], [jwk, 3, undefined]);
    const { signer } = made.lane;
    const { cap } = house.view.view.lane(KEYS.user.address, KEYS.gateway.address, signer) ?? {};
    assert.ok(cap !== undefined && cap <= 700n, `${cap}`);
    assert.equal(existsSync(made.keyFile), false);
    await assert.rejects(ask(), { code: 'SIGN_IN_REFUSED' });
    await assert.rejects(token(cli.flags(), { service: 'ci', stop: true }), {
      code: 'CLIENT_UNKNOWN',
    });
    for (const wrong of [
      { service: 'C I' },
      { service: 'ci', allow: '1' },
      { service: 'ci', daily: '0' },
      { service: 'ci', stop: true, daily: '1' },
      { daily: '1' },
    ]) {
      await assert.rejects(token(cli.flags(), wrong), { code: 'USAGE' });
    }
  });
});
