// What gas costs in the token, by the price of the chain's own coin that the operator has set.
import type { Gateway } from '../gateway.ts';

const WEI_PER_COIN = 10n ** 18n;

/** Base units of the token, rounded up; 0 where the operator has set no price. */
export function unitsOfWei(
  { nativePriceUnits }: Pick<Gateway['config'], 'nativePriceUnits'>,
  wei: bigint,
): bigint {
  return (wei * nativePriceUnits + WEI_PER_COIN - 1n) / WEI_PER_COIN;
}
