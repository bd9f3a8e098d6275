// A lane from its owner's side: how it stands at the gateway, the vouchers its key signs, and how far they go.
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { type Eip712Domain, hashVoucher } from '../../contracts/libraries/typed-data.ts';
import { recoverAddress } from '../../contracts/signatures.ts';
import type { Connection } from './connection.ts';
import type { DefaasClientError } from './errors.ts';
import type { KeySigner } from './key.ts';
import {
  type Json,
  readAddress,
  readCount,
  readHex,
  readJson,
  readObject,
  readUnits,
} from './parse.ts';
import type { Session } from './session.ts';
import type { LaneName } from './sign-in.ts';

/** `0x` and 65 bytes. */
const ECDSA_CHARACTERS = 132;

/** What a lane's owner has to remember of it. Every number only grows, so a lost write costs no more than another signature. */
export interface LaneRecord {
  /** Highest ceiling signed, base units. */
  readonly ceilingUnits: bigint;
  /** All receipts up to this one were checked. */
  readonly verifiedSeq: number;
  /** Their sum, base units. */
  readonly verifiedUnits: bigint;
}

/** Keeps a lane's record. `update` is atomic: what `change` gets is the newest, also between processes. */
export interface LaneMemory {
  read(): LaneRecord;
  update(change: (record: LaneRecord) => LaneRecord): LaneRecord;
}

/**
 * A memory that ends with the program; on its next start the lane's newest voucher is asked for, and the gateway's receipts are checked
 * again from the first.
 */
export function createLaneMemory(): LaneMemory {
  let record: LaneRecord = { ceilingUnits: 0n, verifiedSeq: 0, verifiedUnits: 0n };
  return {
    read: () => record,
    update: (change) => {
      record = change(record);
      return record;
    },
  };
}

/** A lane as the gateway shows it; units are base units. */
export interface LaneDocument extends LaneName {
  readonly gateway: Address;
  /** `none`: never opened. */
  readonly mode: 'none' | 'prepaid' | 'signed';
  readonly capUnits: bigint;
  readonly expirySec: number;
  readonly settledUnits: bigint;
  readonly servedUnits: bigint;
  readonly seq: number;
  readonly ceilingUnits: bigint;
  readonly heldUnits: bigint;
  /** What the key may spend per UTC day; null: all that the lane has. What was spent counts only where there is a limit. */
  readonly limit: { readonly dailyUnits: bigint | null; readonly spentTodayUnits: bigint };
  readonly line: { readonly allottedUnits: bigint; readonly thawingUnits: bigint };
  /** The newest voucher that a key signed by ECDSA; only where the lane itself was asked for. */
  readonly voucher?: { readonly ceilingUnits: bigint; readonly signature: Hex };
}

/** @throws LANE_UNKNOWN the lane was never opened at this gateway; TOKEN_INVALID, GATEWAY_UNREACHABLE */
export async function fetchLane(session: Session, lane: LaneName): Promise<LaneDocument> {
  const reply = await session.request(`/lanes/${lane.payer}/${lane.signer}`);
  return parseLane(await readJson(reply, 'the lane'));
}

/** The voucher as a header and as a signature over `Voucher(payer, gateway, signer, ceiling)`. */
export async function signVoucher(
  connection: Pick<Connection, 'document' | 'domain'>,
  key: KeySigner,
  payer: Address,
  ceilingUnits: bigint,
): Promise<Hex> {
  return key.sign(connection.domain, 'Voucher', {
    payer,
    gateway: connection.document.gateway,
    signer: key.address,
    ceiling: ceilingUnits,
  });
}

/** Form of the `Defaas-Voucher` header. */
export function voucherHeader(ceilingUnits: bigint, signature: Hex): string {
  return `${ceilingUnits}:${signature}`;
}

/** Hands a voucher over by itself; `invoke` sends it along with a call. @throws VOUCHER_INVALID, LANE_UNKNOWN */
export async function putVoucher(
  session: Session,
  lane: LaneName,
  ceilingUnits: bigint,
  signature: Hex,
): Promise<LaneDocument> {
  const reply = await session.request(`/lanes/${lane.payer}/${lane.signer}/voucher`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ceiling: `${ceilingUnits}`, signature }),
  });
  return parseLane(await readJson(reply, 'the lane'));
}

/** Sets what the lane's key may spend per UTC day; signed in as the payer. @throws NOT_OWNER with the key itself; LANE_UNKNOWN */
export async function putLaneLimit(
  session: Session,
  lane: LaneName,
  dailyUnits: bigint | null,
): Promise<LaneDocument> {
  const reply = await session.request(`/lanes/${lane.payer}/${lane.signer}/limit`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ dailyUnits: dailyUnits === null ? null : `${dailyUnits}` }),
  });
  return parseLane(await readJson(reply, 'the lane'));
}

/** What a 402 says is missing; base units. */
export interface Shortage {
  readonly reason: string;
  /** The most that the call may cost. */
  readonly priceUnits: bigint;
  readonly needUnits: bigint;
  readonly ceilingUnits: bigint;
}

export function shortageIn(error: DefaasClientError): Shortage | undefined {
  if (error.code !== 'PAYMENT_REQUIRED' || !error.problem) return undefined;
  const { reason, priceUnits, needUnits, ceilingUnits } = error.problem;
  return {
    reason: String(reason),
    priceUnits: readUnits(priceUnits ?? needUnits, 'priceUnits'),
    needUnits: readUnits(needUnits, 'needUnits'),
    ceilingUnits: readUnits(ceilingUnits, 'ceilingUnits'),
  };
}

/**
 * The next ceiling to sign: the one signed already if that is enough (another program may have raised it), else a step beyond what is
 * checked, and at most one for each call under way. A ceiling is what may be lost to a lying gateway beyond the receipts seen, so it is
 * measured by what this side has checked, and the gateway's word only says how much it asks for. Undefined: it asks for more.
 */
export function nextCeiling(
  { ceilingUnits, verifiedUnits }: Pick<LaneRecord, 'ceilingUnits' | 'verifiedUnits'>,
  shortage: Pick<Shortage, 'needUnits' | 'ceilingUnits'>,
  stepUnits: bigint,
  callsUnderWay = 1,
): bigint | undefined {
  const needed = shortage.ceilingUnits + shortage.needUnits;
  if (ceilingUnits >= needed) return ceilingUnits;
  for (let steps = 1; steps <= callsUnderWay; steps += 1) {
    const next = verifiedUnits + stepUnits * BigInt(steps);
    if (next >= needed) return next;
  }
  return undefined;
}

/** The highest ceiling that the lane's own key has signed, by its signature; 0 when there is none, or none by ECDSA. */
export function signedCeiling(
  domain: Eip712Domain,
  { payer, gateway, signer, voucher }: LaneDocument,
): bigint {
  if (!voucher) return 0n;
  const { ceilingUnits: ceiling, signature } = voucher;
  const digest = hashVoucher(domain, { payer, gateway, signer, ceiling });
  return recoverAddress(digest, signature) === signer ? ceiling : 0n;
}

function parseLane(value: Json): LaneDocument {
  const line = readObject(value.line, 'line');
  const voucher = value.voucher ? readObject(value.voucher, 'voucher') : undefined;
  const isEcdsa = String(voucher?.signature).length === ECDSA_CHARACTERS;
  const limit = readObject(value.limit, 'limit');
  return {
    payer: readAddress(value.payer, 'payer'),
    gateway: readAddress(value.gateway, 'gateway'),
    signer: readAddress(value.signer, 'signer'),
    mode: value.mode === 'prepaid' || value.mode === 'signed' ? value.mode : 'none',
    capUnits: readUnits(value.capUnits, 'capUnits'),
    expirySec: readCount(value.expirySec, 'expirySec'),
    settledUnits: readUnits(value.settledUnits, 'settledUnits'),
    servedUnits: readUnits(value.servedUnits, 'servedUnits'),
    seq: readCount(value.seq, 'seq'),
    ceilingUnits: readUnits(value.ceilingUnits, 'ceilingUnits'),
    heldUnits: readUnits(value.heldUnits, 'heldUnits'),
    limit: {
      dailyUnits:
        limit.dailyUnits === null ? null : readUnits(limit.dailyUnits, 'limit.dailyUnits'),
      spentTodayUnits: readUnits(limit.spentTodayUnits, 'limit.spentTodayUnits'),
    },
    line: {
      allottedUnits: readUnits(line.allottedUnits, 'line.allottedUnits'),
      thawingUnits: readUnits(line.thawingUnits, 'line.thawingUnits'),
    },
    ...(voucher &&
      isEcdsa && {
        voucher: {
          ceilingUnits: readUnits(voucher.ceilingUnits, 'voucher.ceilingUnits'),
          signature: readHex(voucher.signature, 65, 'voucher.signature'),
        },
      }),
  };
}
