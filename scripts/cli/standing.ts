// What `defaas doctor` checks on the chain: a gateway's terms and keys, its payees' floats, and
// money that waits for the active account.
import { fetchOperatorKey } from '../../broker/client/operator-key.ts';
import { fetchPayouts } from '../../broker/client/payouts.ts';
import { shortFloats } from '../../broker/settlement/floats.ts';
import type { Chain } from '../../contracts/chain.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { openChain } from './chain.ts';
import { errorLine } from './cli-error.ts';
import type { Opened } from './context.ts';
import { dateOf } from './operator.ts';

/** Below 1.34 x MIN_BOND one slash of a quarter of the bond stops the settlement. */
const LOW_BOND_PERCENT = 134n;
/**
 * Default settlement cycle of a gateway, seconds, and the least float that it keeps, base units.
 */
const CYCLE_SEC = 21_600;
const LEAST_FLOAT_UNITS = 10_000n;

export interface StandingCheck {
  readonly name: string;
  readonly isOk: boolean;
  readonly isWarning?: boolean;
  readonly found: string;
}

/** Something that needs attention, though nothing is broken. */
class Warning extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * `isOperator`: the gateway's own key is here, so what only its operator can fix is checked too.
 */
export async function standingChecks(
  opened: Opened,
  isOperator: boolean,
): Promise<readonly StandingCheck[]> {
  const chain = await openChain(opened);
  try {
    return [
      await look('terms', () => checkTerms(opened, chain)),
      await look('operator key', () => checkKey(opened, chain)),
      ...(isOperator ? [await look('floats', () => checkFloats(opened, chain))] : []),
      await look('payouts', () => checkPayouts(opened, chain)),
    ];
  } finally {
    chain.close();
  }
}

async function look(name: string, ask: () => Promise<string> | string): Promise<StandingCheck> {
  try {
    return { name, isOk: true, found: await ask() };
  } catch (error) {
    const found = errorLine(error);
    return error instanceof Warning
      ? { name, isOk: true, isWarning: true, found }
      : { name, isOk: false, found };
  }
}

/**
 * Checks whether a change of fee or bond is under way. The check of the bond reports a bond that is
 * too low.
 */
async function checkTerms({ connection }: Opened, chain: Chain): Promise<string> {
  const { gateway } = connection.document;
  const standing = chain.view.gateway(gateway);
  if (standing === undefined) throw new Error(`${gateway} is not registered on the chain`);
  const { unbonding, unbondEndSec, feeBps, nextFeeBps, feeFromSec } = standing;
  const leftUnits = standing.standing;
  const leastUnits = (chain.constants.minBond * LOW_BOND_PERCENT) / 100n;
  const nowSec = await chain.nowSec();
  const isRipe = unbonding > 0n && unbondEndSec <= nowSec;
  const news = [
    ...(isRipe ? [`${formatTokens(unbonding)} tokens can leave the bond (defaas leave)`] : []),
    ...(unbonding > 0n && !isRipe
      ? [`${formatTokens(unbonding)} tokens of the bond leave at ${dateOf(unbondEndSec)}`]
      : []),
    ...(feeFromSec > nowSec
      ? [`the fee is ${nextFeeBps / 100} % from ${dateOf(feeFromSec)} on`]
      : []),
    ...(leftUnits >= chain.constants.minBond && leftUnits < leastUnits
      ? [
          `the bond of ${formatTokens(leftUnits)} is less than 1.34 x the ${formatTokens(chain.constants.minBond)} that must stand: one slash may stop the settlement (defaas bond)`,
        ]
      : []),
  ];
  if (news.length === 0) return `fee ${feeBps / 100} %, nothing is about to change`;
  throw new Warning(
    'TERMS_CHANGE',
    `${news.join('; ')}, on ${gateway}, look whether that is right`,
  );
}

/** Checks the gateway's key. Signatures of a key that is not on the chain are worth nothing. */
async function checkKey({ connection }: Opened, chain: Chain): Promise<string> {
  const { gateway } = connection.document;
  const key = await fetchOperatorKey(connection);
  const known = chain.view.operatorKeys(gateway).find((one) => one.key === key);
  if (known === undefined || !chain.view.isKeyInForce(key, gateway)) {
    throw Object.assign(
      new Error(
        `the gateway signs with ${key}, which the chain does not have for ${gateway}, its operator must run defaas rotate-key`,
      ),
      { code: 'KEY_NOT_IN_FORCE' },
    );
  }
  if (known.untilSec === 0) return `${key}, in force since ${dateOf(known.fromSec)}`;
  throw new Warning(
    'KEY_RETIRING',
    `the gateway signs with ${key}, which is retired and taken until ${dateOf(known.untilSec)}, on ${gateway}, its operator must run defaas rotate-key`,
  );
}

/** Checks how well the floats cover what payees are owed, for the operator. */
function checkFloats({ connection }: Opened, { view }: Chain): string {
  const { gateway } = connection.document;
  const setAside = view.lines(gateway).reduce((sum, { allotted }) => sum + allotted, 0n);
  const rules = { gateway, cycleSec: CYCLE_SEC, leastUnits: LEAST_FLOAT_UNITS };
  const short = shortFloats(view, rules);
  const missing = short.reduce((sum, { wantUnits, haveUnits }) => sum + wantUnits - haveUnits, 0n);
  const has = `${formatTokens(setAside)} tokens are set aside for payees, ${formatTokens(view.free(gateway))} are free`;
  if (short.length === 0) return has;
  throw new Warning(
    'FLOATS_SHORT',
    `${has}, ${formatTokens(missing)} are missing for ${short.length} payees, on ${gateway}, run defaas deposit --to free --account gateway`,
  );
}

/** Checks for money of the active account that was not taken out yet. */
async function checkPayouts({ account, connection }: Opened, { view }: Chain): Promise<string> {
  const { address } = account;
  const claimableUnits = view
    .gateways()
    .map((one) => view.due(one.address, address))
    .reduce((sum, { credited, withdrawn }) => sum + credited - withdrawn, 0n);
  const { gateway } = connection.document;
  const { batches } = await fetchPayouts(connection, address);
  const settled = batches.find(({ state }) => state === 'settled');
  const shortUnits = (settled?.cumulativeUnits ?? 0n) - view.due(gateway, address).credited;
  if (shortUnits > 0n) {
    throw new Warning(
      'PAYOUT_SHORT',
      `batches of ${gateway} have left account ${address} without ${formatTokens(shortUnits)} tokens that it signed for, on its float, run defaas collect`,
    );
  }
  if (claimableUnits === 0n) return 'nothing waits for the account';
  throw new Warning(
    'PAYOUT_WAITING',
    `${formatTokens(claimableUnits)} tokens wait for account ${address}, on the chain, run defaas payouts --send`,
  );
}
