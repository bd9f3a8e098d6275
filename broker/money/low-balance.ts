// Warns when a payer's line runs low. The caller reads it in a reply header; the log gets one
// event.
import type { Logger } from 'pino';
import type { Address } from '../../contracts/libraries/keccak.ts';

/**
 * Warn below 1/5 of what the payer last filled the line to, and re-arm above 1/4, so that holds of
 * concurrent calls do not cause repeated warnings.
 */
const LOW_PART = 5n;
const WELL_PART = 4n;

export interface LowBalance {
  /** Returns what is left for new calls if that is low, base units; otherwise undefined. */
  lookAt(payer: Address, leftUnits: bigint, filledUnits: bigint): bigint | undefined;
}

interface LowBalanceOptions {
  readonly gateway: Address;
  readonly log: Pick<Logger, 'info'>;
  readonly nowMs: () => number;
}

/**
 * Logs `defaas.balance.low` in the form of a CloudEvent (1.0.2, JSON) each time that a payer falls
 * below the threshold.
 */
export function createLowBalance({ gateway, log, nowMs }: LowBalanceOptions): LowBalance {
  const told = new Set<Address>();

  const tell = (payer: Address, leftUnits: bigint, filledUnits: bigint): void => {
    told.add(payer);
    const event = {
      specversion: '1.0',
      type: 'defaas.balance.low',
      source: `urn:defaas:gateway:${gateway}`,
      subject: payer,
      id: crypto.randomUUID(),
      time: new Date(nowMs()).toISOString(),
      data: { payer, leftUnits: `${leftUnits}`, allottedUnits: `${filledUnits}` },
    };
    log.info({ event }, 'a balance is low');
  };

  return {
    lookAt: (payer, leftUnits, filledUnits) => {
      if (leftUnits * LOW_PART < filledUnits) {
        if (!told.has(payer)) tell(payer, leftUnits, filledUnits);
        return leftUnits;
      }
      if (told.size > 0 && leftUnits * WELL_PART >= filledUnits) told.delete(payer);
      return undefined;
    },
  };
}
