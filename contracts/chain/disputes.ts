// Proven frauds and demands for withheld receipts, as Disputes' events tell them.
import type { ChainView, Demand, Fraud } from '../chain.ts';
import type { Hex } from '../libraries/keccak.ts';
import type { History } from './history.ts';
import { type Replay, toAddress } from './replay.ts';

type Disputes = Pick<ChainView, 'frauds' | 'demands'>;

export function createDisputes(history: History): { queries: Disputes; replay: Replay } {
  const frauds: Fraud[] = [];
  const demands = new Map<Hex, Demand>();
  const close = (id: Hex, state: Demand['state']): void => {
    const known = demands.get(id);
    if (known !== undefined) history.set(demands, id, { ...known, state });
  };

  const replay: Replay = {
    disputes: {
      FraudProven: (args, { timestampSec }) =>
        history.push(frauds, {
          id: args.id,
          kind: Number(args.kind),
          gateway: toAddress(args.gateway),
          payer: toAddress(args.payer),
          reporter: toAddress(args.reporter),
          damage: args.damage,
          slashed: args.slashed,
          timestampSec,
        }),
      Demanded: (args) =>
        history.set(demands, args.id, {
          id: args.id,
          gateway: toAddress(args.gateway),
          demander: toAddress(args.demander),
          batch: Number(args.batch),
          claim: Number(args.claim),
          index: Number(args.index),
          deadlineSec: Number(args.deadline),
          state: 'open',
        }),
      Answered: ({ id }) => close(id, 'answered'),
      Expired: ({ id }) => close(id, 'expired'),
    },
  };
  const queries: Disputes = {
    frauds: (gateway) => frauds.filter((fraud) => !gateway || fraud.gateway === gateway),
    demands: (gateway) =>
      [...demands.values()].filter((demand) => !gateway || demand.gateway === gateway),
  };
  return { queries, replay };
}
