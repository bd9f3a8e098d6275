// Sign-In with Ethereum (ERC-4361): verifies a signed message, once, and returns its signer and the
// lane that it may spend from.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Chain } from '../../contracts/chain.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { hashMessage, verifySignature } from '../../contracts/signatures.ts';
import type { ChainChecks } from './chain-checks.ts';
import { recoverSigner } from './ecdsa.ts';
import { createOnce } from './once.ts';
import { checkMessage, laneIn, parseMessage, refusal } from './sign-in-message.ts';
import type { TokenLane } from './tokens.ts';

/** Life of a nonce and longest life of a message, ms (docs/contracts.md 8.3). */
export const NONCE_LIFE_MS = 300_000;
/** Maximum number of used nonces remembered per life. */
const USED_NONCES = 100_000;

export interface SignIn {
  /** A fresh nonce, alphanumeric as ERC-4361 requires. The gateway stores nothing for it. */
  nonce(): string;
  /**
   * Verifies a message by ECDSA, ERC-1271, then ERC-6492. Uses up its nonce, whatever the result:
   * one nonce costs one question to the chain at most.
   * @throws DefaasError SIGN_IN_REFUSED  wrong domain, URI, chain, nonce, time, lane or signature
   * @throws DefaasError RATE_LIMITED     too many signatures are being checked on the chain
   */
  verify(
    signed: SignedMessage,
    from: {
      /** The gateway's own origins. */
      readonly origins: readonly string[];
      /** Whom limits count. */
      readonly client: string;
    },
  ): Promise<{ subject: Address; lane: TokenLane | undefined }>;
}

export interface SignedMessage {
  readonly message: string;
  readonly signature: Hex;
}

interface SignInOptions {
  readonly chain: Pick<Chain, 'chainId' | 'provider' | 'synced' | 'view'>;
  readonly checks: ChainChecks;
  readonly gateway: Address;
  readonly nowMs: () => number;
}

export function createSignIn(options: SignInOptions): SignIn {
  const { chain, gateway, nowMs } = options;
  const nonces = createNonces(nowMs);
  const isSigned = async (
    subject: Address,
    { message, signature }: SignedMessage,
    client: string,
  ): Promise<boolean> =>
    recoverSigner(hashMessage(message), signature) === subject ||
    (await options.checks.run(client, () =>
      verifySignature(chain.provider, subject, { message }, signature),
    ));
  return {
    nonce: nonces.make,
    verify: async (signed, { origins, client }) => {
      const siwe = parseMessage(signed.message);
      const nonceIssuedMs = nonces.take(siwe.nonce);
      if (nonceIssuedMs === undefined) {
        throw refusal('the nonce is unknown, used or too old, sign a message with a fresh one');
      }
      const { chainId } = chain;
      const terms = { origins, chainId, nonceIssuedMs, nowMs: nowMs() };
      checkMessage(siwe, { ...terms, maxLifeMs: NONCE_LIFE_MS });
      // Safe: siwe has validated the EIP-55 address.
      const subject = siwe.address.toLowerCase() as Address;
      const lane = laneIn(siwe.resources ?? [], gateway);
      if (lane !== undefined && lane.payer !== subject && lane.signer !== subject) {
        throw refusal('the lane is not the signer’s');
      }
      if (!(await isSigned(subject, signed, client))) {
        throw refusal(`the signature is not that of ${siwe.address}`);
      }
      const isOpen = (): boolean =>
        lane === undefined || chain.view.lane(lane.payer, gateway, lane.signer) !== undefined;
      // The lane's transaction may be newer than the local view.
      if (!isOpen()) await chain.synced();
      if (!isOpen()) throw refusal('the lane is not open at this gateway');
      return { subject, lane };
    },
  };
}

/**
 * Nonces that prove by themselves when this process issued them: `<time><random><MAC>`. Used ones
 * are remembered, and one that may have been forgotten is refused, so nobody can flush the memory.
 */
function createNonces(nowMs: () => number) {
  const secret = randomBytes(32);
  const used = createOnce({ lifeMs: NONCE_LIFE_MS, max: USED_NONCES, nowMs });
  const macOf = (head: string): string =>
    createHmac('sha256', secret).update(head).digest('hex').slice(0, 32);
  return {
    make: (): string => {
      const head = nowMs().toString(16).padStart(12, '0') + randomBytes(8).toString('hex');
      return head + macOf(head);
    },
    /** Uses the nonce up. Returns when it was issued; undefined if it is not good. */
    take: (nonce: string): number | undefined => {
      const [, head = '', time = '', mac = ''] =
        /^(([0-9a-f]{12})[0-9a-f]{16})([0-9a-f]{32})$/.exec(nonce) ?? [];
      const issuedMs = Number.parseInt(time, 16);
      const isGood =
        mac !== '' &&
        timingSafeEqual(Buffer.from(mac), Buffer.from(macOf(head))) &&
        nowMs() - issuedMs < NONCE_LIFE_MS &&
        issuedMs >= used.sinceMs() &&
        used.take(head);
      return isGood ? issuedMs : undefined;
    },
  };
}
