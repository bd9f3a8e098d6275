// Sign-In with Ethereum (ERC-4361): verifies a signed message, once, and returns its signer and the
// lane that it may spend from.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { SiweMessage } from 'siwe';
import type { Chain } from '../../contracts/chain.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { hashMessage, verifySignature } from '../../contracts/signatures.ts';
import { DefaasError } from '../errors.ts';
import { recoverSigner } from './ecdsa.ts';
import { createOnce } from './once.ts';
import type { TokenLane } from './tokens.ts';

/** Life of a nonce and longest life of a message, ms (docs/contracts.md 8.3). */
export const NONCE_LIFE_MS = 300_000;
/** Longest accepted message; a sign-in is shorter. */
const MAX_MESSAGE_CHARACTERS = 4_096;
/** Maximum number of used nonces remembered per life. */
const USED_NONCES = 100_000;

export interface SignIn {
  /** A fresh nonce, alphanumeric as ERC-4361 requires. The gateway stores nothing for it. */
  nonce(): string;
  /**
   * Verifies a message by ECDSA, ERC-1271, then ERC-6492.
   * @throws DefaasError SIGN_IN_REFUSED  wrong domain, chain, nonce, time, lane or signature
   */
  verify(
    signed: SignedMessage,
    hosts: ReadonlySet<string>,
  ): Promise<{ subject: Address; lane: TokenLane | undefined }>;
}

export interface SignedMessage {
  readonly message: string;
  readonly signature: Hex;
}

interface SignInOptions {
  readonly chain: Pick<Chain, 'chainId' | 'provider' | 'synced' | 'view'>;
  readonly gateway: Address;
  readonly nowMs: () => number;
}

export function createSignIn(options: SignInOptions): SignIn {
  const { chain, gateway, nowMs } = options;
  const secret = randomBytes(32);
  const used = createOnce({ lifeMs: NONCE_LIFE_MS, max: USED_NONCES, nowMs });

  const macOf = (head: string): string =>
    createHmac('sha256', secret).update(head).digest('hex').slice(0, 32);
  const isFresh = (nonce: string): boolean => {
    const [, head = '', time = '', mac = ''] =
      /^(([0-9a-f]{12})[0-9a-f]{16})([0-9a-f]{32})$/.exec(nonce) ?? [];
    const issuedMs = Number.parseInt(time, 16);
    return (
      mac !== '' &&
      timingSafeEqual(Buffer.from(mac), Buffer.from(macOf(head))) &&
      nowMs() - issuedMs < NONCE_LIFE_MS &&
      !used.has(nonce)
    );
  };
  return {
    nonce: () => {
      const head = nowMs().toString(16).padStart(12, '0') + randomBytes(8).toString('hex');
      return head + macOf(head);
    },
    verify: async ({ message, signature }, hosts) => {
      const siwe = parse(message);
      const refuse = (what: string): never => {
        throw refusal(`${what}, sign a fresh message`);
      };
      if (!hosts.has(siwe.domain)) {
        refuse(`the domain is ${siwe.domain}, not one of ${[...hosts].join(', ')}`);
      }
      if (siwe.chainId !== chain.chainId)
        refuse(`the chain is ${siwe.chainId}, not ${chain.chainId}`);
      const expiresMs = Date.parse(siwe.expirationTime ?? '');
      const issuedMs = Date.parse(siwe.issuedAt ?? '');
      if (!(expiresMs > nowMs()) || !(expiresMs - issuedMs <= NONCE_LIFE_MS)) {
        refuse('expirationTime must lie ahead, at most 5 minutes after issuedAt');
      }
      if (Date.parse(siwe.notBefore ?? '') > nowMs()) refuse('notBefore lies ahead');
      if (!isFresh(siwe.nonce)) refuse('the nonce is unknown, used or too old');
      // Safe: siwe has validated the EIP-55 address.
      const subject = siwe.address.toLowerCase() as Address;
      const lane = laneIn(siwe.resources ?? [], gateway);
      if (lane !== undefined && lane.payer !== subject && lane.signer !== subject) {
        refuse('the lane is not the signer’s');
      }
      const isSigned =
        recoverSigner(hashMessage(message), signature) === subject ||
        (await verifySignature(chain.provider, subject, { message }, signature));
      if (!isSigned) refuse('the signature is not the address’s');
      const isOpen = (): boolean =>
        lane === undefined || chain.view.lane(lane.payer, gateway, lane.signer) !== undefined;
      // The lane's transaction may be newer than the local view.
      if (!isOpen()) await chain.synced();
      if (!isOpen()) refuse('the lane is not open at this gateway');
      // Remember the nonces of correctly signed messages only, so that nobody can flush the memory
      // with junk.
      if (!used.take(siwe.nonce)) refuse('the nonce was used in the meantime');
      return { subject, lane };
    },
  };
}

function parse(message: string): SiweMessage {
  // Check the length before parsing, because parsing takes more than linear time.
  if (message.length > MAX_MESSAGE_CHARACTERS) {
    throw refusal(`longer than ${MAX_MESSAGE_CHARACTERS} characters, sign a short message`);
  }
  try {
    return new SiweMessage(message);
  } catch (cause) {
    throw refusal('not an ERC-4361 message, sign a fresh one', cause);
  }
}

/** The lane named in the resources: `urn:defaas:lane:<payer>:<gateway>:<signer>`. */
function laneIn(resources: readonly string[], gateway: Address): TokenLane | undefined {
  for (const resource of resources) {
    const [, payer, at, signer] =
      /^urn:defaas:lane:(0x[0-9a-f]{40}):(0x[0-9a-f]{40}):(0x[0-9a-f]{40})$/.exec(resource) ?? [];
    // Safe: the pattern above matches lower-case addresses only.
    if (at === gateway) return { payer: payer as Address, signer: signer as Address };
  }
  return undefined;
}

function refusal(why: string, cause?: unknown): DefaasError {
  return new DefaasError('SIGN_IN_REFUSED', `sign-in: ${why}`, {
    cause,
    members: { error: 'invalid_grant', error_description: why },
  });
}
