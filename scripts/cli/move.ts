// A command that moves money, at most once. Its transactions are on disk before they are broadcast,
// so the same command, run again after a failure, goes on where the first run stopped.
import { ChainError, type ChainErrorCode } from '../../contracts/chain/chain-error.ts';
import type { SendOptions, SignedTransaction } from '../../contracts/chain/nonce-line.ts';
import type { ChainWriter } from '../../contracts/chain/writer.ts';
import { describeError } from './cli-error.ts';
import type { Confirmed } from './store.ts';

/** What a move is about, as text: amounts and addresses that a second run must not decide anew. */
export type MoveFacts = Readonly<Record<string, string>>;

export interface Move {
  readonly facts: MoveFacts;
  /** An earlier run began it. */
  readonly isResumed: boolean;
  /**
   * Sends a transaction once: an earlier run's is awaited instead, unless it did nothing.
   * @returns the number of its block
   */
  send(
    leg: string,
    writer: Pick<ChainWriter, 'resume'>,
    act: (options: SendOptions) => Promise<number>,
  ): Promise<number>;
  /** Ends it: the next run of the command moves money again. */
  end(): void;
}

/** One row of the store. */
interface MoveRecord {
  readonly facts: MoveFacts;
  readonly legs: Record<string, SignedTransaction[]>;
}

const MOVE = 'move ';

/** Codes after which a transaction may be included all the same. */
const UNDECIDED: ReadonlySet<ChainErrorCode> = new Set([
  'CHAIN_GAS',
  'CHAIN_PENDING',
  'CHAIN_STALE',
  'CHAIN_UNREACHABLE',
]);

/**
 * Opens the move of this name, or begins it with these facts. Hold the account's turn until it
 * ends.
 */
export function openMove(
  confirmed: Confirmed,
  name: string,
  facts: () => MoveFacts = () => ({}),
): Move {
  const what = `${MOVE}${name}`;
  const known = confirmed.get(what);
  const record: MoveRecord = known === undefined ? { facts: facts(), legs: {} } : JSON.parse(known);
  const keep = (leg: string, signed: SignedTransaction[] | undefined) => {
    if (signed) record.legs[leg] = signed;
    else delete record.legs[leg];
    if (Object.keys(record.legs).length > 0) confirmed.put(what, JSON.stringify(record));
    else confirmed.drop(what);
  };
  return {
    facts: record.facts,
    isResumed: known !== undefined,
    send: async (leg, writer, act) => {
      const onSigned = async (one: SignedTransaction) => {
        // Another nonce: the node has refused the transaction before.
        const same = (record.legs[leg] ?? []).filter(({ nonce }) => nonce === one.nonce);
        keep(leg, [...same, one]);
      };
      const before = record.legs[leg];
      if (before) {
        try {
          return await writer.resume(before, { onSigned });
        } catch (error) {
          refuseUndecided(error, before);
          keep(leg, undefined);
        }
      }
      try {
        return await act({ onSigned });
      } catch (error) {
        refuseUndecided(error, record.legs[leg]);
        if (record.legs[leg]) keep(leg, undefined);
        throw error;
      }
    },
    end: () => confirmed.drop(what),
  };
}

/** Names of the moves that have begun, as they were opened, which start with this. */
export function movesFrom(confirmed: Confirmed, start: string): readonly string[] {
  return confirmed.names(`${MOVE}${start}`).map((what) => what.slice(MOVE.length));
}

/** Throws an error after which one of these transactions may still be included. */
function refuseUndecided(error: unknown, signed: readonly SignedTransaction[] = []): void {
  const [one] = signed;
  if (one === undefined || (error instanceof ChainError && !UNDECIDED.has(error.code))) return;
  const { code, message } = describeError(error);
  const next = `transaction ${one.tx} may be included all the same, run the same command again: it waits for it and sends no other`;
  throw Object.assign(new Error(`${message}; ${next}`, { cause: error }), { code });
}

/**
 * Runs what follows after money has moved. Its error says so, and how to go on: by default the same
 * command, which moves nothing a second time.
 */
export async function afterMoved<T>(
  moved: string,
  act: () => Promise<T>,
  next = 'run the same command again: it goes on from here and moves nothing twice',
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const { code, message } = describeError(error);
    throw Object.assign(new Error(`${message}; ${moved} all the same, ${next}`, { cause: error }), {
      code,
    });
  }
}
