// Finds the command line's trust root: a file that the user names, the house's own, or the
// release's, but never a gateway's.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere } from '../../adapters/runtime/whole-file.ts';
import { type GatewayClaim, hasRegistered } from '../../broker/client/connection.ts';
import { createTrustRoot, mismatch, type TrustRoot } from '../../broker/client/trust-root.ts';
import { readChainId } from '../../contracts/chain/rpc.ts';
import {
  type ContractSet,
  type Deployments,
  parseDeployments,
} from '../../contracts/deployments.ts';
import { readAccount } from './account.ts';
import { CliError } from './cli-error.ts';
import { confirmOnce } from './confirm.ts';
import { type House, type HouseFlags, houseFile, PACKAGE_ROOT, userPath } from './house.ts';
import type { Confirmed } from './store.ts';

/** Files of a release, one per chain. */
const RELEASED = join(PACKAGE_ROOT, 'contracts', 'deployments');
const RPC_TIMEOUT_MS = 10_000;

/** A trust root, and the file from which it was read. */
export interface Trusted extends TrustRoot {
  readonly file: string;
  /** sha-256 of the file and the RPC's URL. */
  readonly mark: string;
}

/**
 * Opens the trust root for the chain that the user's own RPC serves. A file that the user names is
 * confirmed once, with its RPC.
 * @throws CliError RPC_REQUIRED, DEPLOYMENT_MISSING, DEPLOYMENT_UNCONFIRMED, FILE_UNREADABLE;
 *   ChainError DEPLOYMENT_INVALID, CHAIN_...
 */
export async function openTrust(
  flags: HouseFlags,
  { home, rpcUrl, gateway }: House,
  confirmed: Confirmed,
): Promise<Trusted> {
  if (rpcUrl === undefined) {
    throw new CliError(
      'RPC_REQUIRED',
      `what ${gateway} says has to be checked on the chain by an RPC of your own, pass --rpc or set DEFAAS_CHAIN_RPC_URL`,
    );
  }
  const named = readNamed(flags);
  const chainId = await readChainId({ urls: [rpcUrl], timeoutMs: RPC_TIMEOUT_MS });
  const { file, text, deployments, isNamed } = named ?? findFile(home, chainId);
  const mark = createHash('sha256').update(text).update('\n').update(rpcUrl).digest('hex');
  if (isNamed) {
    const tokens = deployments.sets.map(({ id, token }) => `${id} bills in token ${token}`);
    await confirmOnce(flags, confirmed, {
      what: `file ${mark}`,
      says: `${file} names the contracts to believe on chain ${deployments.chainId}: ${tokens.join(', ')}; they are asked at ${hostOf(rpcUrl)}`,
    });
  }
  return { ...createTrustRoot({ deployments, rpcUrl }), file, mark };
}

/** @throws CliError USAGE no such set */
export function namedSet({ sets, file }: Trusted, id: string): ContractSet {
  const found = sets.find((set) => set.id === id);
  if (found) return found;
  throw new CliError(
    'USAGE',
    `there is no set "${id}", on ${file}, it has ${sets.map((set) => set.id).join(', ')}`,
  );
}

interface Found {
  readonly file: string;
  readonly text: string;
  readonly deployments: Deployments;
  readonly isNamed: boolean;
}

/** The file that the user names; undefined if there is none. */
function readNamed(flags: HouseFlags): Found | undefined {
  const named = flags.deployment ?? process.env.DEFAAS_DEPLOYMENT;
  if (!named) return undefined;
  const file = userPath(named);
  const text = readFileSync(file, 'utf8');
  return { file, text, deployments: parseDeployments(text, file), isNamed: true };
}

function findFile(home: string, chainId: number): Found {
  for (const file of [houseFile(home), join(RELEASED, `${chainId}.json`)]) {
    const text = readIfThere(file);
    if (text === undefined) continue;
    const deployments = parseDeployments(text, file);
    if (deployments.chainId === chainId) return { file, text, deployments, isNamed: false };
  }
  throw new CliError(
    'DEPLOYMENT_MISSING',
    `nothing says which contracts to believe on chain ${chainId}, on ${houseFile(home)} and ${RELEASED}, name a file with --deployment`,
  );
}

/** URLs may carry a key in their path: only the host is shown. */
function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : 'an invalid URL';
}

/**
 * Whether to accept the gateway's account. The house's own gateway is accepted, and so is the
 * account that was seen here before under this origin. Any other must have registered the origin on
 * the chain or be confirmed. From then on the account must stay the same, even with `--yes`.
 * @throws DefaasClientError DEPLOYMENT_MISMATCH; CliError DEPLOYMENT_UNCONFIRMED
 */
export async function acceptGateway(
  flags: Pick<HouseFlags, 'yes'>,
  { home, chainId }: { readonly home: string; readonly chainId: number },
  confirmed: Confirmed,
  claim: GatewayClaim,
): Promise<boolean> {
  const { origin, gateway } = claim;
  if (gateway === ownGateway(home)) return true;
  const what = `gateway ${chainId} ${origin}`;
  const known = confirmed.get(what);
  if (known === gateway) return true;
  if (known !== undefined) {
    throw mismatch(origin, `is account ${gateway}, it was ${known} before`);
  }
  if (!(await hasRegistered(claim))) {
    const uri = (await claim.registeredUri()).slice(0, 256);
    await confirmOnce(flags, confirmed, {
      what: `${what} ${gateway}`,
      says: `${origin} says that it is gateway ${gateway}, which the chain has at ${uri}`,
    });
  }
  confirmed.put(what, gateway);
  return true;
}

/** The account of the house's own gateway, whose key is in its home. */
function ownGateway(home: string): string | undefined {
  try {
    return readAccount(home, 'gateway').address;
  } catch {
    return undefined;
  }
}
