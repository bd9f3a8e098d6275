// Reads a Sign-In with Ethereum message (ERC-4361) and checks each of its fields, with a message of
// its own for each.
import { SiweMessage } from 'siwe';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { TokenLane } from './tokens.ts';

/** Longest accepted message; a sign-in is shorter. */
const MAX_MESSAGE_CHARACTERS = 4_096;
/** Longest text of a message that an error repeats. */
const MAX_QUOTED_CHARACTERS = 100;
/** A clock that differs by less is not worth a hint, ms. */
const CLOCKS_APART_MS = 5_000;
const LANE_URN = 'urn:defaas:lane:';

export interface MessageTerms {
  /** Our own origins: the message must be for one of them. */
  readonly origins: readonly string[];
  readonly chainId: number;
  /** When the gateway issued the message's nonce, Unix ms. */
  readonly nonceIssuedMs: number;
  readonly nowMs: number;
  /** Longest time from `Issued At` to `Expiration Time`, ms. */
  readonly maxLifeMs: number;
}

/**
 * Parses a message.
 * @throws DefaasError SIGN_IN_REFUSED  too long, or not an ERC-4361 message: which line, and why
 */
export function parseMessage(message: string): SiweMessage {
  // Check the length before parsing, because parsing takes more than linear time.
  if (message.length > MAX_MESSAGE_CHARACTERS) {
    throw refusal(`longer than ${MAX_MESSAGE_CHARACTERS} characters, sign a short message`);
  }
  try {
    return new SiweMessage(message);
  } catch (cause) {
    const why = message.includes('\r')
      ? 'its lines end in CRLF, not in LF'
      : faultIn(message, cause instanceof Error ? cause.message : '');
    throw refusal(`not an ERC-4361 message: ${why}, sign a corrected one`, cause);
  }
}

/** The first fault that the parser found, without its line, which it counts wrongly. */
function faultIn(message: string, fault: string): string {
  const [what] = /\binvalid [a-zA-Z0-9 -]+\b/.exec(fault) ?? [];
  if (what !== undefined && !what.startsWith('invalid message')) return what;
  // The parser stopped after so many characters, and names no rule.
  const read = Number(/"maxMatched":(\d+)/.exec(fault)?.[1] ?? 0);
  const at = message.slice(0, read).split('\n').length;
  return `line ${at} is not the one that ERC-4361 has there`;
}

/**
 * Checks all fields but the nonce.
 * @throws DefaasError SIGN_IN_REFUSED
 */
export function checkMessage(siwe: SiweMessage, terms: MessageTerms): void {
  checkPlace(siwe, terms);
  checkTimes(siwe, terms);
}

function checkPlace(siwe: SiweMessage, { origins, chainId }: MessageTerms): void {
  const hosts = origins.map((origin) => new URL(origin).host);
  if (!hosts.includes(siwe.domain)) {
    throw refusal(`the domain is ${quoted(siwe.domain)}, not one of ${hosts.join(', ')}`);
  }
  if (siwe.scheme && !origins.includes(`${siwe.scheme}://${siwe.domain}`)) {
    throw refusal(`the scheme of the domain is ${quoted(siwe.scheme)}, not that of this gateway`);
  }
  const isOurs = URL.canParse(siwe.uri) && origins.includes(new URL(siwe.uri).origin);
  if (!isOurs) throw refusal(`the URI is ${quoted(siwe.uri)}, not at ${origins.join(', ')}`);
  if (siwe.chainId !== chainId) {
    throw refusal(`the chain is ${siwe.chainId}, not ${chainId}`);
  }
}

function checkTimes(siwe: SiweMessage, terms: MessageTerms): void {
  const { nowMs, maxLifeMs } = terms;
  if (siwe.expirationTime === undefined) throw refusal('it has no Expiration Time');
  const issuedMs = Date.parse(siwe.issuedAt ?? '');
  const expiresMs = Date.parse(siwe.expirationTime);
  if (!(expiresMs - issuedMs <= maxLifeMs)) {
    throw refusal(`Expiration Time may be ${maxLifeMs / 1000} s after Issued At at most`);
  }
  if (!(expiresMs > nowMs)) {
    throw refusal(
      `it has expired at ${siwe.expirationTime}, here it is ${timeText(nowMs)}${clockHint(issuedMs, terms)}`,
    );
  }
  if (siwe.notBefore !== undefined && !(Date.parse(siwe.notBefore) <= nowMs)) {
    throw refusal(
      `Not Before is ${siwe.notBefore}, here it is ${timeText(nowMs)}${clockHint(issuedMs, terms)}`,
    );
  }
}

/**
 * A message is issued after its nonce and before it arrives. Where it says another time, the clock
 * of its signer differs.
 */
function clockHint(issuedMs: number, { nonceIssuedMs, nowMs }: MessageTerms): string {
  const behindMs = nonceIssuedMs - issuedMs;
  const aheadMs = issuedMs - nowMs;
  const [apartMs, where] = behindMs > aheadMs ? [behindMs, 'behind'] : [aheadMs, 'ahead'];
  if (apartMs < CLOCKS_APART_MS) return '';
  return `, your clock is ${Math.round(apartMs / 1000)} s ${where}, set it`;
}

function timeText(ms: number): string {
  return new Date(ms).toISOString();
}

/**
 * The lane named in the resources: `urn:defaas:lane:<payer>:<gateway>:<signer>`. Lanes of other
 * gateways are passed over.
 * @throws DefaasError SIGN_IN_REFUSED  one of another form, or two of this gateway
 */
export function laneIn(resources: readonly string[], gateway: Address): TokenLane | undefined {
  let lane: TokenLane | undefined;
  for (const resource of resources) {
    if (!resource.toLowerCase().startsWith(LANE_URN)) continue;
    const [, payer, at, signer] =
      /^urn:defaas:lane:(0x[0-9a-f]{40}):(0x[0-9a-f]{40}):(0x[0-9a-f]{40})$/.exec(resource) ?? [];
    if (at === undefined) {
      throw refusal(`the resource ${quoted(resource)} is no lane in lower case`);
    }
    if (at !== gateway) continue;
    if (lane !== undefined) throw refusal('the resources name more than one lane of this gateway');
    // Safe: the pattern above matches lower-case addresses only.
    lane = { payer: payer as Address, signer: signer as Address };
  }
  return lane;
}

function quoted(text: string): string {
  return text.slice(0, MAX_QUOTED_CHARACTERS);
}

/** `why` is shown to the client, as OAuth's `error_description` too. */
export function refusal(why: string, cause?: unknown): DefaasError {
  return new DefaasError('SIGN_IN_REFUSED', `sign-in: ${why}`, {
    cause,
    members: { error: 'invalid_grant', error_description: why },
  });
}
