// `defaas settle`: makes the operator's gateway settle what it has served, as much as fits into one
// transaction.
import { settle as askToSettle } from '../../broker/client/settlement.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { type Flags, type Outcome, openGateway, openSession } from './context.ts';

/** The role whose key may settle. */
const OPERATOR = 'gateway';

/**
 * Signs in with the operator's key, whatever account is active.
 * @throws OPERATOR_ONLY, NOTHING_TO_SETTLE, SETTLEMENT_REFUSED, CHAIN_UNREACHABLE
 */
export async function settle(flags: Flags): Promise<Outcome> {
  const opened = await openGateway(flags, { role: OPERATOR });
  try {
    const session = await openSession(opened, opened.account);
    const settled = await askToSettle(session);
    const { tx, batch, lanes, receipts, totalUnits, refused, left } = settled;
    const text = `batch ${batch}: ${receipts} receipts in ${lanes} lanes, ${formatTokens(totalUnits)} tokens, one transaction ${tx}`;
    const out = refused.map(
      ({ payer, signer, reason }) => `left out: lane ${signer} of ${payer}, ${reason}`,
    );
    const more =
      left === 0 ? [] : [`${left} lanes wait for the next batch, run defaas settle again`];
    return { document: settled, text: [text, ...out, ...more].join('\n') };
  } finally {
    opened.close();
  }
}
