// Body of a request that sets a limit per UTC day, for a sponsored function or a lane's key.
import { Type } from 'typebox';
import type { Gateway } from '../gateway.ts';
import type { SpendingScope } from '../ledger/ledger.ts';

/**
 * Base units, at most what a claim can hold, uint88 (docs/contracts.md 6.1); null removes the
 * limit.
 */
export const LimitBody = Type.Object(
  { dailyUnits: Type.Union([Type.String({ pattern: '^\\d{1,26}$' }), Type.Null()]) },
  { additionalProperties: false },
);

/**
 * Sets the limit durably, then in memory.
 * @throws DefaasError LEDGER_FAILED
 */
export async function setDailyLimit(
  { ledger, dailyLimits }: Pick<Gateway, 'ledger' | 'dailyLimits'>,
  scope: SpendingScope,
  dailyUnits: string | null,
): Promise<void> {
  const units = dailyUnits === null ? undefined : BigInt(dailyUnits);
  await ledger.putDailyLimit(scope, units);
  dailyLimits.setLimit(scope, units);
}
