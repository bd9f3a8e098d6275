// `defaas fee [percent]`: the operator's share of every price. A new one takes effect some time
// after it is announced.
import { CliError } from './cli-error.ts';
import type { Flags, Outcome } from './context.ts';
import { type ActOptions, act, dateOf, openOperator, standingOf, told } from './operator.ts';

/**
 * Announces a fee, or without `percent` shows the one in force. Another announcement replaces the
 * waiting one and restarts the wait.
 * @throws CliError USAGE, OPERATOR_ONLY, FEE_TOO_HIGH; ChainError CHAIN_...
 */
export async function fee(
  flags: Flags,
  percent: string | undefined,
  options: ActOptions,
): Promise<Outcome> {
  const bps = percent === undefined ? undefined : parseBps(percent);
  const operator = await openOperator(flags, options);
  const { chain, gateway, dryRun } = operator;
  try {
    if (bps !== undefined) {
      const [max] = await chain.read('billing', 'MAX_FEE_BPS', []);
      if (bps > Number(max)) {
        throw new CliError(
          'FEE_TOO_HIGH',
          `${percent} % is above the ${Number(max) / 100} % that Billing allows, name less`,
        );
      }
      await act(operator, 'billing', 'announceFee', [bps]);
    }
    const standing = standingOf(operator);
    const [delay] = await chain.read('billing', 'FEE_DELAY', []);
    const isTried = dryRun && bps !== undefined;
    const nowSec = await chain.nowSec();
    const fromSec = isTried ? nowSec + Number(delay) : standing.feeFromSec;
    const nextFeeBps = isTried ? bps : standing.nextFeeBps;
    const isWaiting = fromSec > nowSec;
    const document = {
      gateway,
      feeBps: standing.feeBps,
      nextFeeBps: isWaiting ? nextFeeBps : null,
      fromSec: isWaiting ? fromSec : null,
      dryRun,
    };
    const now = `the fee is ${standing.feeBps / 100} %`;
    const next = isWaiting ? `, ${nextFeeBps / 100} % from ${dateOf(fromSec)} on` : '';
    return { document, text: told(operator, `${now}${next}`) };
  } finally {
    operator.close();
  }
}

/** `2.5` -> 250 basis points. @throws CliError USAGE */
function parseBps(text: string): number {
  const [, whole, fraction = ''] = /^(\d{1,3})(?:\.(\d{1,2}))?$/.exec(text) ?? [];
  if (whole !== undefined) return Number(whole + fraction.padEnd(2, '0'));
  throw new CliError(
    'USAGE',
    `the fee must be percent with at most 2 decimals such as 5 or 2.5, got "${text}"`,
  );
}
