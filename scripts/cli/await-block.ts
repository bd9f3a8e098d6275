// What the chain has, the gateway has a moment later: commands that change what it may serve wait
// for that.
import { setTimeout } from 'node:timers/promises';
import type { Connection } from '../../broker/client/connection.ts';

/** Longest wait, and time between two looks, ms. */
const GATEWAY_SEES_MS = 10_000;
const SEEN_POLL_MS = 50;

/** Whether the gateway has taken in a block in time; one that has not will, by itself. */
export async function awaitBlock(connection: Connection, number: number): Promise<boolean> {
  const deadlineMs = Date.now() + GATEWAY_SEES_MS;
  while (Date.now() < deadlineMs) {
    const { head } = await (await connection.send('/readyz')).json();
    if (head >= number) return true;
    await setTimeout(SEEN_POLL_MS);
  }
  return false;
}
