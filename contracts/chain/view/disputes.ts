// State of proven frauds and of demands for withheld receipts, from Disputes' events.
import type { Result } from 'ethers';
import type { Hex } from '../../libraries/keccak.ts';
import { FRAUD_KIND } from '../evidence.ts';
import { type LogPlace, type Replay, toAddress } from '../replay.ts';
import type { ChainView, Demand, DemandAnswer, Fraud } from '../types.ts';
import type { History } from './history.ts';

type Disputes = Pick<ChainView, 'frauds' | 'demands'>;

export function createDisputes(history: History): { queries: Disputes; replay: Replay } {
  const frauds: Fraud[] = [];
  const demands = new Map<Hex, Demand>();
  const close = (id: Hex, changes: Partial<Demand>): void => {
    const known = demands.get(id);
    if (known !== undefined) history.set(demands, id, { ...known, ...changes });
  };

  const replay: Replay = {
    disputes: {
      FraudProven: (args, place) =>
        history.push(frauds, fraudOf(args, place, Number(args.kind), args.reporter)),
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
      Answered: (args, { blockNumber }) =>
        close(args.id, { state: 'answered', answer: { blockNumber, ...answerOf(args) } }),
      Expired: (args, place) => {
        close(args.id, { state: 'expired' });
        // A demand that expires without a slash counts as no proven fraud.
        if (args.slashed === 0n) return;
        history.push(frauds, fraudOf(args, place, FRAUD_KIND.silence, args.demander));
      },
    },
  };
  const queries: Disputes = {
    frauds: (gateway) => frauds.filter((fraud) => !gateway || fraud.gateway === gateway),
    demands: (gateway) =>
      [...demands.values()].filter((demand) => !gateway || demand.gateway === gateway),
  };
  return { queries, replay };
}

function fraudOf(
  args: Result,
  { blockNumber, timestampSec }: LogPlace,
  kind: number,
  reporter: string,
): Fraud {
  return {
    id: args.id,
    kind,
    gateway: toAddress(args.gateway),
    payer: toAddress(args.payer),
    reporter: toAddress(reporter),
    batch: Number(args.batch),
    claim: Number(args.claim),
    damage: args.damage,
    paid: args.paid,
    slashed: args.slashed,
    blockNumber,
    timestampSec,
  };
}

function answerOf({
  receipt,
  path,
  call,
  execution,
  callSignature,
}: Result): Omit<DemandAnswer, 'blockNumber'> {
  return {
    receipt: {
      ...{ payer: toAddress(receipt.payer), gateway: toAddress(receipt.gateway) },
      ...{ signer: toAddress(receipt.signer), seq: Number(receipt.seq), call: receipt.call },
      ...{ execution: receipt.execution, provider: toAddress(receipt.provider) },
      ...{ attempt: Number(receipt.attempt), atBlock: Number(receipt.atBlock) },
      ...{ price: receipt.price, cumulative: receipt.cumulative },
    },
    path: [...path],
    call: {
      ...{ payer: toAddress(call.payer), gateway: toAddress(call.gateway) },
      ...{ signer: toAddress(call.signer), nonce: call.nonce, input: call.input },
      ...{ functionVersion: call.functionVersion, maxPrice: call.maxPrice },
      ...{ deadlineSec: Number(call.deadline), beacon: Number(call.beacon) },
      authority: call.authority,
    },
    execution: {
      ...{ deployment: Number(execution.deployment), request: execution.request },
      ...{ billedMs: Number(execution.billedMs), initMs: Number(execution.initMs) },
      ...{ memoryMiB: Number(execution.memoryMiB), status: Number(execution.status) },
      ...{ input: execution.input, output: execution.output },
      finishedAtSec: Number(execution.finishedAt),
    },
    ...(callSignature !== '0x' && { callSignature }),
  };
}
