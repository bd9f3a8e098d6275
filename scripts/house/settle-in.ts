// Last step of a start: registers and bonds the gateway, and publishes, deploys and sponsors the
// example `hello`. `up` runs it as a program while something is missing; every step is idempotent.
import type { Sponsorship } from '../../broker/client/sponsorship.ts';
import type { ChainWriter } from '../../contracts/chain/writer.ts';
import type { Chain } from '../../contracts/chain.ts';
import { type Account, readAccount } from '../cli/account.ts';
import { openChain } from '../cli/chain.ts';
import { CliError, errorLine } from '../cli/cli-error.ts';
import { type Flags, openGateway } from '../cli/context.ts';
import { deploy } from '../cli/deploy.ts';
import { sponsor } from '../cli/sponsor.ts';

/** Ten times the least bond, base units (6 decimals). */
const BOND_UNITS = 10_000_000_000n;
/** Amount that the gateway may set aside for payees, base units. */
const FLOATS_UNITS = 20_000_000n;
/** Bits: 1 gateway, 2 provider; both for the one account of the local house. */
const GATEWAY_AND_PROVIDER = 3;
/**
 * Amount that the publisher of `hello` sets aside for its callers, whole tokens: five million
 * calls.
 */
const SPONSORED_TOKENS = '100';
/**
 * Daily limit and duration of the sponsorship; it is signed again when less than a month is left.
 */
const SPONSORED_DAILY_TOKENS = '1';
const SPONSORED_DAYS = '100';
const LEAST_SPONSORED_SEC = 30 * 86_400;

async function main(): Promise<void> {
  const [home, gatewayUrl, rpcUrl, example] = process.argv.slice(2);
  if (!home || !gatewayUrl || !rpcUrl || !example) {
    throw new Error('usage: settle-in.ts <home> <gatewayUrl> <rpcUrl> <folder of the example>');
  }
  const flags: Flags = { json: true, account: 'publisher', gateway: gatewayUrl, rpc: rpcUrl };
  report('giving the gateway its standing on the chain');
  await standUp(home, flags);
  report('publishing and deploying hello');
  await deployExample(flags, example);
  report('setting money aside for its callers');
  await sponsorExample(flags);
}

function report(step: string): void {
  process.send?.({ step });
}

/**
 * Registered under its URL and token key, with its signing key, a bond, and the account that
 * settles for it.
 */
async function standUp(home: string, flags: Flags): Promise<void> {
  const opened = await openGateway(flags, { role: 'gateway' });
  const { origin } = opened.connection;
  const chain = await openChain(opened);
  try {
    const reply = await opened.connection.request('/.well-known/defaas');
    const { jwksThumbprint } = await reply.json();
    await registerGateway(chain, opened.account, {
      uri: origin,
      jwksThumbprint: `0x${Buffer.from(jwksThumbprint, 'base64url').toString('hex')}`,
    });
    await armGateway(chain, opened.account, home);
  } finally {
    chain.close();
    opened.close();
  }
}

async function registerGateway(
  chain: Chain,
  account: Account,
  place: { readonly uri: string; readonly jwksThumbprint: `0x${string}` },
): Promise<void> {
  const writer = chain.connect(account);
  const known = chain.view.party(account.address);
  const terms = { roles: GATEWAY_AND_PROVIDER, ...place };
  if (known === undefined) await chain.synced(await writer.registerParty(terms));
  else if (known.uri !== place.uri || known.jwksThumbprint !== place.jwksThumbprint) {
    await chain.synced(await writer.updateParty(terms));
  }
}

async function armGateway(chain: Chain, account: Account, home: string): Promise<void> {
  const writer = chain.connect(account);
  const operator = readAccount(home, 'operator');
  const settler = readAccount(home, 'settler');
  if (!chain.view.isKeyInForce(operator.address, account.address)) {
    await chain.synced(await writer.addKey(operator.privateKey, GATEWAY_AND_PROVIDER));
  }
  const missing = BOND_UNITS - (chain.view.gateway(account.address)?.bond ?? 0n);
  if (missing > 0n) {
    await writer.mintMock(missing);
    await chain.synced(await writer.bond(account.address, missing));
  }
  const hasFloats =
    chain.view.free(account.address) > 0n || chain.view.lines(account.address).length > 0;
  if (!hasFloats) await chain.synced(await setFloatsAside(writer));
  if (chain.view.gateway(account.address)?.settler !== settler.address) {
    await chain.synced(await writer.setSettler(settler.address));
  }
}

/** Free money, of which the gateway sets one cycle's worth aside for each payee. */
async function setFloatsAside(writer: ChainWriter): Promise<number> {
  await writer.mintMock(FLOATS_UNITS);
  return writer.approveAndDeposit(FLOATS_UNITS);
}

/** Deploys to all clouds; one success is enough. */
async function deployExample(flags: Flags, folder: string): Promise<void> {
  const { document, failure } = await deploy(flags, folder, { to: 'aws,google,azure' });
  // Safe: what `deploy` has just made.
  const { providers } = document as { providers: readonly { state: string; provider: string }[] };
  if (failure === undefined) return;
  if (!providers.some(({ state }) => state === 'live')) {
    throw new CliError(failure.code, failure.message);
  }
  report(`not on every cloud: ${failure.message}`);
}

/** Signs the sponsorship for the callers of `hello` unless a valid one has enough time left. */
async function sponsorExample(flags: Flags): Promise<void> {
  const { document } = await sponsor(flags, 'hello', {});
  // Safe: what `sponsor` has just made.
  const { lane } = document as Sponsorship;
  if (lane !== null && lane.untilSec > Date.now() / 1000 + LEAST_SPONSORED_SEC) return;
  await sponsor(flags, 'hello', {
    daily: SPONSORED_DAILY_TOKENS,
    days: SPONSORED_DAYS,
    deposit: SPONSORED_TOKENS,
  });
}

if (import.meta.main) {
  await main().then(
    () => process.send?.({ ready: {} }, () => process.disconnect?.()),
    (error: unknown) => {
      process.stderr.write(`${errorLine(error)}\n${error instanceof Error ? error.stack : ''}\n`);
      process.exit(1);
    },
  );
}
