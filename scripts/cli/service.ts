// `defaas token --service <id>`: a service account is a program with its own key. It spends from a
// separate lane under a mandate, until it is stopped.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere, refuseExposed } from '../../adapters/runtime/whole-file.ts';
import { TOKEN_KIND, tokenSubject } from '../../broker/client/mandates.ts';
import {
  registerServiceAccount,
  removeServiceAccount,
} from '../../broker/client/service-account.ts';
import type { Chain } from '../../contracts/chain.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { keysFolder } from './account.ts';
import { awaitBlock } from './await-block.ts';
import { CliError } from './cli-error.ts';
import { type Flags, type Opened, type Outcome, openSession } from './context.ts';
import { openOwnLane, ownLaneFor, refuseZero, revokeAllOf, signOwnMandate } from './own-lane.ts';
import { parseDays } from './renew.ts';
import type { StoredLane } from './store.ts';
import { parseTokens } from './units.ts';

const DEFAULT_DAILY = '0.1';
const DEFAULT_DAYS = '30';
const DAY_SEC = 86_400;
const P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;

export interface ServiceOptions {
  /** Whole tokens that its calls may cost per UTC day. */
  readonly daily?: string;
  /** Number of days, 30 by default. Today's voucher is signed now, later ones by `watch`. */
  readonly days?: string;
  /** Renews: before this mandate ends, `watch` signs the next one for the same number of days. */
  readonly renew?: boolean;
  /** Stops it: revokes its mandate and removes its key here and at the gateway. */
  readonly stop?: boolean;
}

/** A change of a service account, checked before anything is requested or sent. */
export interface ServiceChange {
  readonly id: string;
  /** 0 stops it. */
  readonly dailyUnits: bigint;
  readonly days: number;
  readonly isRenewed: boolean;
}

/** @throws CliError USAGE */
export function parseService(id: string, options: ServiceOptions): ServiceChange {
  if (!/^[a-z0-9-]{1,63}$/.test(id)) {
    throw new CliError('USAGE', `--service takes a-z, 0-9 and -, at most 63, got "${id}"`);
  }
  const { daily, days, renew: isRenewed = false, stop = false } = options;
  if (stop) {
    if (daily === undefined && days === undefined && !isRenewed) {
      return { id, dailyUnits: 0n, days: 0, isRenewed };
    }
    throw new CliError('USAGE', '--stop ends it, leave --daily, --days and --renew out');
  }
  const dailyUnits = parseTokens(daily ?? DEFAULT_DAILY, '--daily');
  refuseZero(dailyUnits, '--daily');
  return { id, dailyUnits, days: parseDays(days ?? DEFAULT_DAYS), isRenewed };
}

/**
 * @throws CliError LANE_UNKNOWN nothing is set aside to pay from; DefaasClientError CLIENT_UNKNOWN
 */
export async function service(
  flags: Flags,
  opened: Opened,
  chain: Chain,
  change: ServiceChange & { readonly functionId: bigint },
): Promise<Outcome> {
  const { account, house, connection, store } = opened;
  const { id, dailyUnits, days, isRenewed, functionId } = change;
  const { gateway } = connection.document;
  const clientId = `${account.address}:${id}`;
  const keyFile = join(keysFolder(house.home), `service-${gateway}-${account.address}-${id}.json`);
  const session = await openSession(opened, account);
  const known = ownLaneFor(opened, chain, purposeOf(id), await chain.nowSec());
  if (known) await closeFor(opened, known);
  if (dailyUnits === 0n) {
    await removeServiceAccount(session, id);
    rmSync(keyFile, { force: true });
    return { document: { clientId, stopped: true }, text: `${clientId} can spend nothing more` };
  }
  const total = dailyUnits * BigInt(days);
  const { lane } = await openOwnLane(flags, opened, chain, {
    purpose: purposeOf(id),
    capUnits: total,
    depositUnits: 0n,
    remedy: 'run defaas deposit',
  });
  await awaitBlock(connection, chain.view.head.number);
  const publicKey = await keyIn(keyFile, { clientId, gateway: connection.origin });
  await registerServiceAccount(session, { id, publicKey, signer: lane.signer });
  const untilSec = Math.floor(Date.now() / 1000) + days * DAY_SEC;
  const { hash } = await signOwnMandate(opened, chain, lane, {
    kind: TOKEN_KIND,
    subject: tokenSubject(clientId),
    functionId,
    maxPrice: dailyUnits,
    perDay: dailyUnits,
    total,
    untilSec,
    serial: BigInt(Date.now()),
  });
  if (isRenewed) store.putRenewalDays(lane, days);
  const { payer, signer } = lane;
  const until = new Date(untilSec * 1000).toISOString();
  return {
    document: {
      clientId,
      keyFile,
      gateway: connection.origin,
      lane: { payer, signer },
      dailyUnits,
      totalUnits: total,
      untilSec,
      isRenewed,
      mandate: hash,
    },
    text: `${clientId} may spend ${formatTokens(dailyUnits)} tokens a day and ${formatTokens(total)} in all until ${until}; each further day needs defaas watch, which signs for it\nkey: ${keyFile}`,
  };
}

function purposeOf(id: string): string {
  return `service:${id}`;
}

async function closeFor(opened: Opened, lane: StoredLane): Promise<void> {
  opened.store.putRenewalDays(lane, undefined);
  await revokeAllOf(opened, lane);
}

/**
 * The public key of the account. The private key is made once and kept in the file, as a JWK (RFC
 * 7517) with the client's id, readable by its owner only.
 */
async function keyIn(
  file: string,
  about: { readonly clientId: string; readonly gateway: string },
): Promise<CryptoKey> {
  const text = readIfThere(file);
  if (text === undefined) {
    const { privateKey, publicKey } = await crypto.subtle.generateKey(P256, true, [
      'sign',
      'verify',
    ]);
    const jwk = await crypto.subtle.exportKey('jwk', privateKey);
    mkdirSync(join(file, '..'), { recursive: true, mode: 0o700 });
    const content = `${JSON.stringify({ ...about, jwk }, null, 1)}\n`;
    writeFileSync(file, content, { mode: 0o600, flag: 'wx', flush: true });
    return publicKey;
  }
  refuseExposed(file);
  try {
    const { kty, crv, x, y } = JSON.parse(text).jwk;
    return await crypto.subtle.importKey('jwk', { kty, crv, x, y }, P256, true, ['verify']);
  } catch (cause) {
    throw new CliError(
      'KEY_MISSING',
      `no key of ${about.clientId}, on ${file}, remove it: another one is made`,
      { cause },
    );
  }
}
