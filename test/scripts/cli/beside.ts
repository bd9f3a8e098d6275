// The command line's commands beside a small house, in one process: a home folder with the keys of
// the house's accounts.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Flags, Outcome } from '../../../scripts/cli/context.ts';
import { KEYS, type SmallHouse } from '../../broker/small-house.ts';

export interface CommandLine {
  readonly home: string;
  /** The flags of a command with `--json` and `--account`. */
  flags(account?: keyof typeof KEYS): Flags;
  remove(): void;
}

/** DEFAAS_HOME leads to its folder until it is removed. */
export function createCommandLine(house: Pick<SmallHouse, 'chain' | 'trust' | 'url'>): CommandLine {
  const home = mkdtempSync(join(tmpdir(), 'defaas-cli-home-'));
  mkdirSync(join(home, 'keys'));
  for (const [role, key] of Object.entries(KEYS)) {
    writeFileSync(join(home, 'keys', `${role}.json`), JSON.stringify(key), { mode: 0o600 });
  }
  const deployments = { chainId: house.trust.chainId, sets: house.trust.sets };
  writeFileSync(join(home, 'deployment.json'), JSON.stringify(deployments));
  const before = process.env.DEFAAS_HOME;
  process.env.DEFAAS_HOME = home;
  return {
    home,
    flags: (account = 'user') => ({
      json: true,
      account,
      gateway: house.url(),
      rpc: house.chain.url,
    }),
    remove: () => {
      if (before === undefined) delete process.env.DEFAAS_HOME;
      else process.env.DEFAAS_HOME = before;
      rmSync(home, { recursive: true });
    },
  };
}

/** The document of a command, as `--json` prints it. */
export async function documentOf(
  outcome: Promise<Outcome>,
): Promise<ReturnType<typeof JSON.parse>> {
  const { document } = await outcome;
  return JSON.parse(
    JSON.stringify(document, (_, value) => (typeof value === 'bigint' ? `${value}` : value)),
  );
}

/** What a command notes on stderr. */
export async function notesOf(run: () => Promise<unknown>): Promise<string> {
  const { write } = process.stderr;
  let said = '';
  process.stderr.write = (text: string | Uint8Array) => {
    said += text;
    return true;
  };
  try {
    await run();
  } finally {
    process.stderr.write = write;
  }
  return said;
}
