// Keeps prepaid lines filled: moves free deposits onto lines that run low, within each payer's
// limit.
import { ChainError } from '../../contracts/chain/chain-error.ts';
import type { SignedTransaction } from '../../contracts/chain/nonce-line.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { Gateway } from '../gateway.ts';
import { isOver } from './sent.ts';

/** A line is low when less than this part of its last filled amount is left. */
const WATERMARK_PART = 5n;
/** Maximum number of payers per transaction, about 3.5 million gas. */
const PAYERS_AT_ONCE = 100;

/**
 * Payers whose line is low and who have at least `leastUnits` to move onto it; the minimum keeps
 * the gateway from paying gas for nothing. With `settled` false, computes the room as if everything
 * owed were settled first: a top-up fills a line up to the payer's limit, and owed amounts count
 * towards it.
 */
export function payersToTopUp(
  { chain, lanes, address }: Pick<Gateway, 'address' | 'chain' | 'lanes'>,
  leastUnits: bigint,
  settled: boolean,
): Address[] {
  const { view } = chain;
  const isLow = (payer: Address): boolean => {
    const line = view.line(payer, address);
    const limit = view.limit(payer, address);
    if (line === undefined || line.thawing > 0n || limit === 0n) return false;
    const left = lanes.lineLeft(payer);
    const room = limit - (settled ? line.allotted : left);
    const free = view.free(payer);
    const units = free < room ? free : room;
    return units > 0n && units >= leastUnits && left * WATERMARK_PART < line.filled;
  };
  return [...new Set(lanes.all().map(({ payer }) => payer))].filter(isLow);
}

/**
 * Tops up the lines of these payers, in several transactions if needed. A list that the chain
 * refuses is halved; a payer refused alone is logged and returned.
 * @throws ChainError  the chain cannot be reached, or the settler cannot pay
 */
export async function topUp(
  gateway: Pick<Gateway, 'address' | 'chain' | 'ledger' | 'log' | 'settler'>,
  payers: readonly Address[],
): Promise<Address[]> {
  const refused: Address[] = [];
  const lists: (readonly Address[])[] = [];
  for (let i = 0; i < payers.length; i += PAYERS_AT_ONCE) {
    lists.push(payers.slice(i, i + PAYERS_AT_ONCE));
  }
  for (let list = lists.pop(); list !== undefined; list = lists.pop()) {
    const kept = keeperOf(gateway);
    try {
      const block = await gateway.settler.topUp(gateway.address, list, kept);
      await kept.forget();
      await gateway.chain.synced(block);
    } catch (err) {
      if (isOver(err)) await kept.forget();
      if (!(err instanceof ChainError) || err.code !== 'CHAIN_REVERTED') throw err;
      const half = Math.ceil(list.length / 2);
      if (half < list.length) lists.push(list.slice(0, half), list.slice(half));
      else {
        gateway.log.warn({ err, payer: list[0] }, 'a line cannot be topped up');
        refused.push(...list);
      }
    }
  }
  return refused;
}

/**
 * Resumes top-ups that an earlier process signed and that are not on the chain: a stuck one would
 * block every later transaction of the settler.
 * @throws ChainError CHAIN_PENDING  one is still under way
 */
export async function resumeTopUps(
  gateway: Pick<Gateway, 'chain' | 'ledger' | 'log' | 'settler'>,
): Promise<void> {
  const { chain, ledger, log, settler } = gateway;
  for (const signed of await ledger.topUps()) {
    const kept = keeperOf(gateway, signed);
    log.warn({ tx: signed.at(-1)?.tx }, 'a top-up that was sent is not on the chain');
    try {
      await chain.synced(await settler.resume(signed, kept));
    } catch (err) {
      if (!isOver(err)) throw err;
      log.warn({ err }, 'a top-up that was sent is void');
    }
    await kept.forget();
  }
}

/** Stores each transaction of one call before it is sent, until its result is known. */
function keeperOf({ ledger }: Pick<Gateway, 'ledger'>, earlier: readonly SignedTransaction[] = []) {
  let signed = earlier;
  const forget = async (): Promise<void> => {
    const nonce = signed[0]?.nonce;
    if (nonce !== undefined) await ledger.putTopUp(nonce, []);
  };
  return {
    forget,
    onSigned: async (fresh: SignedTransaction): Promise<void> => {
      // The nonce has changed: the node refused the earlier transactions, and they can no longer be
      // included.
      if (signed[0]?.nonce !== fresh.nonce) {
        await forget();
        signed = [];
      }
      signed = [...signed, fresh];
      await ledger.putTopUp(fresh.nonce, signed);
    },
  };
}
