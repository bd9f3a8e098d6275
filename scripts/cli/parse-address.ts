// Addresses as people write them.
import { getAddress } from 'ethers';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { CliError } from './cli-error.ts';

/**
 * Lower-case; mixed case is a checksum (ERC-55), and one that is wrong is a typing error.
 * @throws CliError USAGE
 */
export function parseAddress(text: string): Address {
  try {
    // Safe: ethers gives 0x and 40 digits of hex, or throws.
    if (text.startsWith('0x')) return getAddress(text).toLowerCase() as Address;
  } catch {
    // Told below, as for any other text.
  }
  throw new CliError('USAGE', `"${text}" is no address, write 0x and its 40 digits of hex`);
}
