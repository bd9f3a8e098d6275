// What a settlement needs of the gateway.
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
