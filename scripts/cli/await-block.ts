// A gateway sees a new block a moment after the chain has it. Commands that change what it may
// serve wait for that.
import { setTimeout } from 'node:timers/promises';
import type { Connection } from '../../broker/client/connection.ts';
import { readCount, readJson } from '../../broker/client/parse.ts';

/** Longest wait, and time between two checks, ms. */
const GATEWAY_SEES_MS = 10_000;
const SEEN_POLL_MS = 50;

/** Whether the gateway has seen the block within the wait. A slower one sees it later by itself. */
export async function awaitBlock(connection: Connection, number: number): Promise<boolean> {
  const deadlineMs = Date.now() + GATEWAY_SEES_MS;
  while (Date.now() < deadlineMs) {
    const { head } = await readJson(await connection.send('/readyz'), 'the gateway’s readiness');
    if (readCount(head, 'head') >= number) return true;
    await setTimeout(SEEN_POLL_MS);
  }
  return false;
}
