// After a call: does its payer's line run low? The caller reads it in a header; the log has it once, as an event.
import type { Logger } from 'pino';
import type { Address } from '../../contracts/libraries/keccak.ts';

/** Low is below a fifth of what the payer last filled the line to; a quarter is well again, so that holds of parallel calls do not tell it twice. */
const LOW_PART = 5n;
const WELL_PART = 4n;

export interface LowBalance {
  /** What is left for new calls, when that is low; base units. */
  lookAt(payer: Address, leftUnits: bigint, filledUnits: bigint): bigint | undefined;
}

interface LowBalanceOptions {
  readonly gateway: Address;
  readonly log: Pick<Logger, 'info'>;
  readonly nowMs: () => number;
}

/** Logs `defaas.balance.low` in the form of a CloudEvent (1.0.2, JSON) each time that a payer comes below. */
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
