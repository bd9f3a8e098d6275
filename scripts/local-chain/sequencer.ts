// Brings anvil from one state to the next, one operation after the other, live and in a replay by
// the same steps. Each transaction gets a block of its own, with the timestamp the operation names:
// so hashes come out the same again.
import { type Anvil, RpcError } from './anvil.ts';
import type { Head, Operation, Recorded, State } from './history.ts';

/** A replay that came to another block than the first time. */
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
  /** Undefined while transactions wait in the pool, which no dump contains. */
  dump(): Promise<State | undefined>;
  /** Lets estimates see the time at which a block would be mined now. */
  setNextTime(atSec: number): Promise<void>;
}

interface Block {
  readonly number: string;
  readonly hash: string;
  readonly timestamp: string;
}

/** From the genesis, or from a state that is loaded first. */
export async function createSequencer(anvil: Anvil, state?: State): Promise<Sequencer> {
  if (state !== undefined) await anvil.call('anvil_loadState', [state.dump]);
  let head = await readHead(anvil);
  if (state !== undefined && head.hash !== state.head.hash) {
    throw new DivergedError(`loaded block ${head.number} is ${head.hash}, not ${state.head.hash}`);
  }
  let offsetSec = state?.offsetSec ?? 0;
  /** anvil's own step between two blocks, seconds; it alone lets two blocks share a timestamp. */
  let intervalSec: number | undefined;
  /**
   * anvil forgets the last timestamp when it loads a state: the first block after it names its own.
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
    // The node's own reply, trusted: one block, for one was asked for.
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
  // The node's own reply, trusted.
  return headOf((await anvil.call('eth_getBlockByNumber', ['latest', false])) as Block);
}

function headOf(block: Block): Head {
  return {
    number: Number(block.number),
    hash: block.hash,
    timestampSec: Number(block.timestamp),
  };
}
