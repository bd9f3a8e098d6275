// What a publisher pays for its function's callers at a gateway. Needs a session of the function's
// owner.
import type { Address } from '../../contracts/libraries/keccak.ts';
import {
  type Json,
  readAddress,
  readCount,
  readJson,
  readObject,
  readText,
  readUnits,
} from './parse.ts';
import type { Session } from './session.ts';

interface FunctionName {
  readonly owner: string;
  readonly name: string;
}

/** Units are base units. */
export interface Sponsorship {
  /** `owner/name`. */
  readonly function: string;
  /** Whether the newest deployed version says that its publisher pays. */
  readonly isSponsored: boolean;
  /** The most that all callers together may cost per UTC day. */
  readonly dailyUnits: bigint;
  readonly spentTodayUnits: bigint;
  /** The lane that pays, and what is left of it; null if there is none. */
  readonly lane: {
    readonly signer: Address;
    readonly leftUnits: bigint;
    /** When its mandate ends, Unix seconds. */
    readonly untilSec: number;
  } | null;
}

/** @throws NOT_OWNER, FUNCTION_UNKNOWN, TOKEN_INVALID, GATEWAY_UNREACHABLE */
export async function fetchSponsorship(session: Session, of: FunctionName): Promise<Sponsorship> {
  return parseSponsorship(await readJson(await session.request(pathOf(of)), 'the sponsorship'));
}

/** `dailyUnits` null: the gateway's own default; 0: no more. @throws NOT_OWNER, FUNCTION_UNKNOWN */
export async function putSponsorship(
  session: Session,
  of: FunctionName,
  dailyUnits: bigint | null,
): Promise<Sponsorship> {
  const reply = await session.request(pathOf(of), {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ dailyUnits: dailyUnits === null ? null : `${dailyUnits}` }),
  });
  return parseSponsorship(await readJson(reply, 'the sponsorship'));
}

function pathOf({ owner, name }: FunctionName): string {
  return `/sponsorships/${owner}/${name}`;
}

function parseSponsorship(value: Json): Sponsorship {
  return {
    function: readText(value.function, 'function'),
    isSponsored: value.isSponsored === true,
    dailyUnits: readUnits(value.dailyUnits, 'dailyUnits'),
    spentTodayUnits: readUnits(value.spentTodayUnits, 'spentTodayUnits'),
    lane: value.lane === null ? null : parseLane(readObject(value.lane, 'lane')),
  };
}

function parseLane(lane: Json): NonNullable<Sponsorship['lane']> {
  return {
    signer: readAddress(lane.signer, 'lane.signer'),
    leftUnits: readUnits(lane.leftUnits, 'lane.leftUnits'),
    untilSec: readCount(lane.untilSec, 'lane.untilSec'),
  };
}
