// Amounts as people write them (whole tokens, `1.25`) and as they are counted (base units, 6
// decimals of the billing token).
import { DECIMALS } from '../../contracts/libraries/tokens.ts';
import { CliError } from './cli-error.ts';

/** `1.25` -> 1 250 000 units. @throws CliError USAGE */
export function parseTokens(text: string, what: string): bigint {
  const [, whole, fraction = ''] = /^(\d{1,15})(?:\.(\d{1,6}))?$/.exec(text) ?? [];
  if (whole === undefined) {
    throw new CliError(
      'USAGE',
      `${what} must be an amount in whole tokens with at most 6 decimals such as 5 or 0.25, got "${text}"`,
    );
  }
  return BigInt(whole + fraction.padEnd(DECIMALS, '0'));
}

/** A whole number of base units. @throws CliError USAGE */
export function parseUnits(text: string, what: string): bigint {
  if (!/^\d{1,27}$/.test(text)) {
    throw new CliError('USAGE', `${what} must be a whole number of base units, got "${text}"`);
  }
  return BigInt(text);
}
