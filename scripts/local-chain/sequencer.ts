// Executes operations on anvil one by one, by the same steps live and in a replay. Each transaction
// gets its own block with the operation's timestamp, so that a replay gives the same hashes.
import { type Anvil, RpcError } from './anvil.ts';
import type { Head, Operation, Recorded, State } from './history.ts';

/** A replay gave another block than the original run. */
export class DivergedError extends Error {}

export interface Sequencer {
  readonly head: Head;
  readonly offsetSec: number;
  /**
   * Result for the client, as anvil gives it.
   * @throws RpcError the operation was refused and changed nothing
   */
  apply(operation: Operation): Promise<unknown>;
  /** @throws DivergedError a block's hash is not the recorded one */
  replay(recorded: readonly Recorded[]): Promise<void>;
  /** Dumps the state; undefined while transactions are in the pool, which no dump contains. */
  dump(): Promise<State | undefined>;
  /** Makes estimates use the time at which a block would be mined now. */
  setNextTime(atSec: number): Promise<void>;
}

interface Block {
  readonly number: string;
  readonly hash: string;
  readonly timestamp: string;
}

/** Starts from the genesis, or from a state that is loaded first. */
export async function createSequencer(anvil: Anvil, state?: State): Promise<Sequencer> {
  if (state !== undefined) await anvil.call('anvil_loadState', [state.dump]);
  let head = await readHead(anvil);
  if (state !== undefined && head.hash !== state.head.hash) {
    throw new DivergedError(`loaded block ${head.number} is ${head.hash}, not ${state.head.hash}`);
  }
  let offsetSec = state?.offsetSec ?? 0;
  /** The block interval set in anvil, seconds; two blocks can share a timestamp only through it. */
  let intervalSec: number | undefined;
  /**
   * anvil forgets the last timestamp when it loads a state, so the first block after that sets its
   * own.
   */
  let isLoaded = state !== undefined;

  async function setInterval(seconds: number): Promise<void> {
    if (seconds === intervalSec) return;
    await anvil.call('anvil_setBlockTimestampInterval', [seconds]);
    intervalSec = seconds;
  }

  async function setNextTime(atSec: number): Promise<void> {
    const nextSec = Math.max(atSec, head.timestampSec);
    if (isLoaded) await anvil.call('evm_setNextBlockTimestamp', [nextSec]);
    else await setInterval(nextSec - head.timestampSec);
  }

  async function mine(atSec: number): Promise<void> {
    await setNextTime(atSec);
    // Safe: the node's own reply; one block was requested, so it has one.
    const [block] = (await anvil.call('evm_mine_detailed')) as Block[];
    isLoaded = false;
    head = block === undefined ? await readHead(anvil) : headOf(block);
  }

  async function apply(operation: Operation): Promise<unknown> {
    switch (operation.kind) {
      case 'transaction': {
        const hash = await anvil.call('eth_sendRawTransaction', [operation.raw]);
        await mine(operation.atSec);
        return hash;
      }
      case 'mine': {
        if (operation.blocks > 0) await mine(operation.atSec);
        if (operation.blocks > 1) {
          await setInterval(operation.everySec);
          await anvil.call('anvil_mine', [`0x${(operation.blocks - 1).toString(16)}`]);
          head = await readHead(anvil);
        }
        return '0x0';
      }
      case 'balance':
        return anvil.call('anvil_setBalance', [operation.address, operation.balance]);
      case 'clock':
        offsetSec = operation.offsetSec;
        return offsetSec;
    }
  }

  return {
    get head() {
      return head;
    },
    get offsetSec() {
      return offsetSec;
    },
    apply,
    setNextTime,
    async replay(recorded) {
      for (const { operation, head: expected } of recorded) {
        try {
          await apply(operation);
        } catch (error) {
          if (!(error instanceof RpcError)) throw error;
          if (expected !== undefined)
            throw new DivergedError('an operation is refused', { cause: error });
        }
        if (expected !== undefined && head.hash !== expected.hash) {
          throw new DivergedError(`block ${head.number} is ${head.hash}, not ${expected.hash}`);
        }
      }
    },
    async dump() {
      const pool = await anvil.call('txpool_status');
      if (JSON.stringify(pool) !== JSON.stringify({ pending: '0x0', queued: '0x0' }))
        return undefined;
      return { head, offsetSec, dump: String(await anvil.call('anvil_dumpState')) };
    },
  };
}

async function readHead(anvil: Anvil): Promise<Head> {
  // Safe: the node's own reply.
  return headOf((await anvil.call('eth_getBlockByNumber', ['latest', false])) as Block);
}

function headOf(block: Block): Head {
  return {
    number: Number(block.number),
    hash: block.hash,
    timestampSec: Number(block.timestamp),
  };
}
