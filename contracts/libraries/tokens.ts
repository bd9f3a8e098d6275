// Amounts as people read them: whole tokens such as `1.25`. They are counted in base units.

/** Decimals of the billing token everywhere in DeFaaS, those of USDC. */
export const DECIMALS = 6;

/** 1 250 000 units -> `1.25`. */
export function formatTokens(units: bigint): string {
  const digits = `${units < 0n ? -units : units}`.padStart(DECIMALS + 1, '0');
  const whole = digits.slice(0, -DECIMALS);
  const fraction = digits.slice(-DECIMALS).replace(/0+$/, '');
  return `${units < 0n ? '-' : ''}${whole}${fraction && `.${fraction}`}`;
}
