// A lane from its owner's side: its state at the gateway, and the vouchers that its key signs.
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
  /**
   * What the key may spend per UTC day; null: no limit. Spending is counted only while there is a
   * limit.
   */
  readonly limit: { readonly dailyUnits: bigint | null; readonly spentTodayUnits: bigint };
  readonly line: { readonly allottedUnits: bigint; readonly thawingUnits: bigint };
  /** The newest voucher signed by ECDSA; present only if this lane was requested by itself. */
  readonly voucher?: { readonly ceilingUnits: bigint; readonly signature: Hex };
}

/**
 * @throws LANE_UNKNOWN the lane was never opened at this gateway; TOKEN_INVALID,
 *   GATEWAY_UNREACHABLE
 */
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

/** Formats the `Defaas-Voucher` header. */
export function voucherHeader(ceilingUnits: bigint, signature: Hex): string {
  return `${ceilingUnits}:${signature}`;
}

/**
 * Sends a voucher by itself; `invoke` sends it along with a call.
 * @throws VOUCHER_INVALID, LANE_UNKNOWN
 */
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

/**
 * Sets what the lane's key may spend per UTC day. Needs a session of the payer.
 * @throws NOT_OWNER with the key itself; LANE_UNKNOWN
 */
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

/** What a 402 says is missing: `ceiling`, `cap`, `line`, ... Its numbers are not to be trusted. */
export function shortageIn({ code, problem }: DefaasClientError): string | undefined {
  return code === 'PAYMENT_REQUIRED' && problem ? String(problem.reason) : undefined;
}

/**
 * The highest ceiling that the lane's own key has provably signed; 0 if there is none, or none by
 * ECDSA.
 */
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
