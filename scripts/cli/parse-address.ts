// Parses addresses that people type.
import { getAddress } from 'ethers';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { CliError } from './cli-error.ts';

/**
 * Returns it in lower case. Mixed case is a checksum (ERC-55); a wrong one is a typing error.
 * @throws CliError USAGE
 */
export function parseAddress(text: string): Address {
  try {
    // Safe: ethers gives 0x and 40 digits of hex, or throws.
    if (text.startsWith('0x')) return getAddress(text).toLowerCase() as Address;
  } catch {
    // Reported below, as for any other text.
  }
  throw new CliError('USAGE', `"${text}" is no address, write 0x and its 40 digits of hex`);
}
