// The fronts of all functions, also of deleted ones, each on the port that the state has for it.

import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { type Front, type FrontParts, openFront } from '../instances/front.ts';
import { readdress } from './revision.ts';
import type { State } from './state.ts';

export interface Fronts {
  /** Opens the front of a function that has none. */
  of(name: string): Promise<Front>;
  get(name: string): Front | undefined;
  refuse(isOut: boolean): Promise<void>;
  close(): Promise<void>;
}

/** Opens the front of each port in `state`. */
export async function openFronts(
  dir: string,
  { functions, ports }: State,
  parts: FrontParts,
): Promise<Fronts> {
  const fronts = new Map<string, Front>();
  let isOut = false;

  async function of(name: string): Promise<Front> {
    const known = fronts.get(name);
    if (known) return known;
    const seed = createHash('sha256').update(`${dir}\n${name}`).digest().readUInt32BE();
    const front = await openFront(basename(name), { port: ports[name], seed }, parts);
    if (isOut) await front.refuse(true);
    ports[name] = front.port;
    fronts.set(name, front);
    const stored = functions[name];
    if (stored) readdress(stored, front.uri);
    return front;
  }

  for (const name of Object.keys(ports)) await of(name);
  return {
    of,
    get: (name) => fronts.get(name),
    async refuse(out) {
      isOut = out;
      await Promise.all([...fronts.values()].map((front) => front.refuse(out)));
    },
    async close() {
      await Promise.all([...fronts.values()].map((front) => front.close()));
    },
  };
}
