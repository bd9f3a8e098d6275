// A mandate as JSON text and back: how the gateway's ledger and the command line store it.
import type { Mandate } from '../../contracts/libraries/typed-data.ts';

/** JSON of `mandate`. The five amounts and ids that are bigint become decimal strings. */
export function mandateToText(mandate: Mandate): string {
  return JSON.stringify(mandate, (_, value) => (typeof value === 'bigint' ? `${value}` : value));
}

/** The inverse of `mandateToText`. Does not check the text: it comes from our own database. */
export function mandateFromText(text: string): Mandate {
  const { functionId, maxPrice, perDay, total, serial, ...rest } = JSON.parse(text);
  return {
    ...rest,
    functionId: BigInt(functionId),
    maxPrice: BigInt(maxPrice),
    perDay: BigInt(perDay),
    total: BigInt(total),
    serial: BigInt(serial),
  };
}
