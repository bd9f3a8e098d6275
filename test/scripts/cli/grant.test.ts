// Who may call a function that is not public: granted, revoked, and refused again with the block
// that says so.
import assert from 'node:assert/strict';
import type { Key } from '../../../contracts/keystore.ts';
import { grant } from '../../../scripts/cli/grant.ts';
import { revoke } from '../../../scripts/cli/revoke.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf } from './beside.ts';

const HELLO = 'export default async () => new Response("hello");';
/** An address whose checksum (ERC-55) is right, and the same with a wrong one. */
const CHECKSUMMED = '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed';
const MISTYPED = '0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed';

describe('defaas grant and revoke', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let cli: CommandLine;
  let closed: string;
  let lane: Key;
  before(async () => {
    house = await startSmallHouse();
    cli = createCommandLine(house);
    closed = await house.publish('closed', HELLO, { access: 'granted' });
    lane = await house.openLane(KEYS.user);
  });
  after(async () => {
    cli.remove();
    await house.close();
  });

  const user = KEYS.user.address;
  const give = (expires = '7', scopes = 'invoke') =>
    documentOf(grant(cli.flags('publisher'), 'closed', user, { expires, scopes }));
  const take = (address: string | undefined, all = false) =>
    documentOf(revoke(cli.flags('publisher'), 'closed', address, { all }));
  const call = async (payer = KEYS.user, signer = lane) =>
    (await (await house.caller(payer, signer)).invoke({ function: closed })).response.text();

  it('lets an account call until its grant is revoked', async () => {
    await assert.rejects(call(), { code: 'NOT_GRANTED' });
    const granted = await give();
    const answer = await call();
    const revoked = await take(user);
    await assert.rejects(call(), { code: 'NOT_GRANTED' });
    const again = await take(user);

    assert.deepEqual([granted.subject, granted.scopes], [user, ['invoke']]);
    assert.ok(Math.abs(granted.expirySec - (Date.now() / 1000 + 7 * 86_400)) < 60);
    assert.equal(answer, 'hello');
    assert.deepEqual([revoked.isRevoked, revoked.block > granted.block], [true, true]);
    assert.equal(again.isRevoked, false);
  });

  it('revokes all grants at once, and not the owner’s own access', async () => {
    await give();
    assert.equal(await call(), 'hello');

    await take(undefined, true);

    await assert.rejects(call(), { code: 'NOT_GRANTED' });
    const own = await house.openLane(KEYS.publisher);
    assert.equal(await call(KEYS.publisher, own), 'hello');
  });

  it('allows calls only when the scope of the grant is invoke', async () => {
    await give('7', 'subscribe,logs');
    await assert.rejects(call(), { code: 'NOT_GRANTED' });

    await give('7', 'invoke,logs');

    assert.equal(await call(), 'hello');
    await take(user);
  });

  it('ends a grant with its last day', async () => {
    const { expirySec } = await give('2099-12-31');

    assert.equal(expirySec, Date.parse('2099-12-31T23:59:59Z') / 1000);
  });

  it('can be given and revoked by the owner alone', async () => {
    const scopes = 'invoke';
    const owner = cli.flags('publisher');

    await assert.rejects(grant(cli.flags(), closed, user, { scopes }), { code: 'NOT_OWNER' });
    await assert.rejects(revoke(cli.flags(), closed, user, {}), { code: 'NOT_OWNER' });
    await assert.rejects(revoke(cli.flags(), closed, undefined, { all: true }), {
      code: 'NOT_OWNER',
    });
    await assert.rejects(grant(owner, 'none-such', user, { scopes }), { code: 'FUNCTION_UNKNOWN' });
  });

  it('accepts a number of days or a future date, known scopes, and addresses without typing errors', async () => {
    const owner = cli.flags('publisher');
    const wrong = [
      grant(owner, closed, user, { scopes: 'invoke', expires: 'soon' }),
      grant(owner, closed, user, { scopes: 'invoke', expires: '2020-01-01' }),
      grant(owner, closed, user, { scopes: 'invoke', expires: '0' }),
      grant(owner, closed, user, { scopes: 'everything' }),
      grant(owner, closed, MISTYPED, { scopes: 'invoke' }),
      grant(owner, closed, '0x12', { scopes: 'invoke' }),
      revoke(owner, closed, undefined, {}),
      revoke(owner, closed, user, { all: true }),
    ];

    for (const one of await Promise.allSettled(wrong)) {
      assert.equal(one.status === 'rejected' && one.reason.code, 'USAGE');
    }
    const right = await documentOf(grant(owner, closed, CHECKSUMMED, { scopes: 'invoke' }));
    assert.equal(right.subject, CHECKSUMMED.toLowerCase());
  });
});
