// Lanes that were served, many at once: receipts go through the gateway's own journal, as calls do,
// without the calls.
import { randomBytes } from 'node:crypto';
import type { Gateway } from '../../../broker/gateway.ts';
import { createDigestSigner } from '../../../broker/identity/ecdsa.ts';
import type { JournalEntry } from '../../../broker/ledger/ledger.ts';
import { createAbi } from '../../../contracts/chain/abi.ts';
import { type Key, keyOf } from '../../../contracts/keystore.ts';
import { type Address, type Hex, toHex } from '../../../contracts/libraries/keccak.ts';
import {
  type Call,
  type Execution,
  hashCall,
  hashExecution,
  hashReceipt,
  NO_AUTHORITY,
  type Receipt,
} from '../../../contracts/libraries/receipts.ts';
import { hashVoucher } from '../../../contracts/libraries/typed-data.ts';
import type { SmallHouse } from '../small-house.ts';

/** Calls of `openLane` in one transaction. */
const LANES_AT_ONCE = 100;
const LANE_LIFE_SEC = 30 * 86_400;

export interface ServedCall {
  readonly functionVersion: Hex;
  readonly priceUnits: bigint;
}

/** A key that is as good as any, made without the cost of a mnemonic. */
export function laneKey(index: number): Key {
  return keyOf(`0x${(0x5e55_0000 + index).toString(16).padStart(64, '0')}`);
}

/** Opens lanes of one payer, whose line has `units` in all. */
export async function openLanes(
  house: SmallHouse,
  payer: Key,
  signers: readonly Key[],
  units: bigint,
): Promise<void> {
  const gateway = house.gateway();
  const { encode } = createAbi(house.chain.contracts);
  const writer = house.view.connect(payer);
  await writer.mintMock(units);
  let block = await writer.depositAllotOpenLane({ amount: units, gateway: gateway.address });
  const expirySec = Math.floor(gateway.nowMs() / 1000) + LANE_LIFE_SEC;
  for (let i = 0; i < signers.length; i += LANES_AT_ONCE) {
    const calls = signers
      .slice(i, i + LANES_AT_ONCE)
      .map(({ address }) =>
        encode('billing', 'openLane', [gateway.address, address, units, expirySec, 1]),
      );
    block = (await writer.send('billing', 'multicall', [calls])).blockNumber;
  }
  await gateway.chain.synced(block);
}

/** Receipts of a lane for calls that went well, and a voucher of its key that covers them. */
export async function serve(
  gateway: Gateway,
  payer: Address,
  signer: Key,
  calls: readonly ServedCall[],
): Promise<void> {
  const lane = gateway.lanes.lane(payer, signer.address);
  const appended = calls.map(({ functionVersion, priceUnits }) => {
    const { seq, cumulative } = gateway.lanes.charge(lane, priceUnits);
    const entry = entryOf(gateway, {
      payer,
      signer: signer.address,
      functionVersion,
      seq,
      price: priceUnits,
      cumulative,
    });
    return gateway.journal.append(() => ({ entry }));
  });
  await Promise.all(appended);
  await sign(gateway, payer, signer, lane.cumulative);
}

/**
 * A voucher in force for all that the lane owes, signed by `signer`'s private key: a wallet's owner
 * signs in its name.
 */
async function sign(gateway: Gateway, payer: Address, signer: Key, ceiling: bigint): Promise<void> {
  const fields = { payer, gateway: gateway.address, signer: signer.address, ceiling };
  const signature = createDigestSigner(signer.privateKey).sign(
    hashVoucher(gateway.chain.domain, fields),
  );
  const voucher = { payer, signer: signer.address, ceiling, signature };
  await gateway.ledger.putVoucher(voucher);
  gateway.lanes.raise(voucher);
}

function entryOf(
  { address: gateway, chain, nowMs }: Gateway,
  of: Pick<Receipt, 'payer' | 'signer' | 'seq' | 'price' | 'cumulative'> & {
    readonly functionVersion: Hex;
  },
): JournalEntry {
  const { functionVersion, ...fields } = of;
  const finishedAtSec = Math.floor(nowMs() / 1000);
  const deployment = chain.view.deployments(functionVersion)[0];
  const call: Call = {
    payer: of.payer,
    gateway,
    signer: of.signer,
    nonce: random(),
    functionVersion,
    input: random(),
    maxPrice: of.price,
    deadlineSec: finishedAtSec + 60,
    beacon: chain.view.latestEpoch?.epoch ?? 0,
    authority: NO_AUTHORITY,
  };
  const execution: Execution = {
    deployment: deployment?.id ?? 0,
    request: random(),
    billedMs: 1,
    initMs: 0,
    memoryMiB: 128,
    status: 200,
    input: call.input,
    output: random(),
    finishedAtSec,
  };
  const receipt: Receipt = {
    ...fields,
    gateway,
    call: hashCall(call),
    execution: hashExecution(execution),
    provider: deployment?.provider ?? gateway,
    attempt: 0,
    atBlock: chain.view.head.number,
  };
  return {
    id: hashReceipt(receipt),
    receipt,
    call,
    execution,
    salt: random(),
    cloud: 'aws-lambda',
    functionName: 'served@1',
    attempts: [],
  };
}

function random(): Hex {
  return toHex(randomBytes(32));
}
