// Converts gas costs to the token, at the price of the chain's native coin that the operator has
// configured.
import type { Gateway } from '../gateway.ts';

const WEI_PER_COIN = 10n ** 18n;

/** Base units of the token, rounded up; 0 if no price is configured. */
export function unitsOfWei(
  { nativePriceUnits }: Pick<Gateway['config'], 'nativePriceUnits'>,
  wei: bigint,
): bigint {
  return (wei * nativePriceUnits + WEI_PER_COIN - 1n) / WEI_PER_COIN;
}
