// The parts of the gateway that a settlement uses.
import type { Gateway } from '../gateway.ts';

export type SettlementParts = Pick<
  Gateway,
  | 'address'
  | 'artifacts'
  | 'chain'
  | 'closing'
  | 'config'
  | 'groupSigner'
  | 'journal'
  | 'lanes'
  | 'ledger'
  | 'log'
  | 'nowMs'
  | 'settler'
>;
