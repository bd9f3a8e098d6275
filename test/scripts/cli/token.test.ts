// An access token for curl: it pays from the newest lane once a voucher covers the call, and says when it ends.
import assert from 'node:assert/strict';
import { deposit } from '../../../scripts/cli/deposit.ts';
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

  it('needs a deposit, unless it is for the control routes alone', async () => {
    await assert.rejects(token(cli.flags(), {}), { code: 'LANE_UNKNOWN' });
    await assert.rejects(token(cli.flags(), { control: true, allow: '1' }), { code: 'USAGE' });

    const control = await documentOf(token(cli.flags(), { control: true }));

    assert.equal(control.lane, null);
    const reply = await call(control.accessToken);
    assert.equal((await reply.json()).code, 'TOKEN_INVALID');
  });

  it('prints a token that pays for calls as far as it is allowed, and ends within 10 minutes', async () => {
    await deposit(cli.flags(), '1', { to: 'lane' });
    await house.gateway().chain.synced();

    const bare = await documentOf(token(cli.flags(), {}));
    const refused = await call(bare.accessToken);
    const covered = await documentOf(token(cli.flags(), { allow: '0.1' }));
    const answered = await call(covered.accessToken);
    const again = await documentOf(token(cli.flags(), { allow: '0.1' }));
    const { text } = await token(cli.flags(), {});

    assert.equal((await refused.json()).reason, 'ceiling');
    assert.deepEqual([answered.status, await answered.text()], [200, 'by curl']);
    assert.equal(covered.ceilingUnits, '100000');
    assert.equal(
      again.ceilingUnits,
      `${100_000n + BigInt(answered.headers.get('defaas-price') ?? '')}`,
    );
    assert.deepEqual([covered.tokenType, covered.lane.payer], ['Bearer', KEYS.user.address]);
    const leftMs = Date.parse(covered.expiresAt) - Date.now();
    assert.ok(leftMs > 0 && leftMs <= 600_000);
    assert.match(text ?? '', /^[\w-]+\.[\w-]+\.[\w-]+$/);
  });
});
