// Idempotency: a keyed call is charged once and answers the same again
// (docs/architecture.md, "The way of one call").
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DefaasError } from '../errors.ts';
import type { Ledger, StoredAnswer } from '../ledger/ledger.ts';
import type { Caller } from '../money/caller.ts';
import type { Target } from '../routing/target.ts';
import type { Answer, Invocation } from './invocation.ts';
import { forwardedHeaders } from './reply.ts';

/** How long a key answers, ms. */
const KEPT_MS = 24 * 3_600_000;
/** Larger bodies are stored in files. */
const MAX_LEDGER_BYTES = 256 * 1024;
const EXPIRE_EVERY_MS = 60_000;
/** Length of the half of a nonce that names the call: `0x` and 16 bytes. */
const NAME_CHARACTERS = 34;

/** Headers that differ between attempts of the same caller. */
const PER_ATTEMPT_HEADERS = new Set(['date', 'traceparent', 'tracestate']);

/**
 * Headers that belong to the transport of an event, not to it. Its own attributes, `ce-` headers in
 * one mode, count by its digest.
 */
const EVENT_TRANSPORT_HEADERS =
  /^(?:ce-.*|content-(?:type|length|encoding)|user-agent|accept(?:-.*)?)$/;

/** A call under a key, while it runs. */
export interface KeyedCall {
  /**
   * Called when nothing can refuse the call any more, before the first attempt: from now on the
   * function may have run. Resolves when the claim is durable. Returns undefined where the version
   * is idempotent, which needs none.
   */
  begin(): Promise<void> | undefined;
  /**
   * Makes the body durable, which must happen before the receipt, and returns the row that is
   * stored with the receipt.
   */
  keep(body: Uint8Array): Promise<(answer: Answer) => StoredAnswer | undefined>;
}

export interface Answers {
  /**
   * Runs the call unless its key has an answer. A duplicate in flight waits for the first and gets
   * the same.
   * @throws DefaasError IDEMPOTENCY_MISMATCH  another request came under the key
   * @throws DefaasError INVOCATION_UNKNOWN    the key was claimed before a crash; it never runs
   *   again
   * @throws DefaasError ANSWER_EXPIRED        answered, but the answer could not be kept; not
   *   charged again
   */
  once(
    call: {
      readonly invocation: Invocation;
      readonly caller: Caller;
      readonly target: Target;
      /** The caller's Idempotency-Key. A signed Call has its nonce instead. */
      readonly key: string | undefined;
    },
    run: (keyed: KeyedCall) => Promise<Answer>,
  ): Promise<Answer>;
  close(): void;
}

interface AnswersOptions {
  readonly ledger: Pick<Ledger, 'answer' | 'putAnswer' | 'dropAnswer' | 'expireAnswers'>;
  /** Folder of the large answers. */
  readonly dir: string;
  readonly maxFileBytes: number;
  readonly nowMs: () => number;
  readonly onFailed: (error: unknown) => void;
}

interface InFlight {
  readonly fingerprint: string;
  readonly answer: Promise<Answer>;
}

export function createAnswers(options: AnswersOptions): Answers {
  const { ledger, dir, nowMs } = options;
  const inFlight = new Map<string, InFlight>();
  mkdirSync(dir, { recursive: true });
  let fileBytes = 0;
  for (const name of readdirSync(dir)) fileBytes += statSync(join(dir, name)).size;

  const sizeOf = (file: string): number =>
    statSync(join(dir, file), { throwIfNoEntry: false })?.size ?? 0;
  const expire = async (): Promise<void> => {
    for (const file of await ledger.expireAnswers(nowMs() - KEPT_MS)) {
      fileBytes -= sizeOf(file);
      await rm(join(dir, file), { force: true });
    }
  };
  const timer = setInterval(() => void expire().catch(options.onFailed), EXPIRE_EVERY_MS).unref();

  const writeFile = async (file: string, body: Uint8Array): Promise<void> => {
    // Count the bytes before the first await, so that concurrent bodies share the limit. The file
    // of an older answer under the same key is overwritten.
    fileBytes += body.length - sizeOf(file);
    try {
      const handle = await open(join(dir, file), 'w', 0o600);
      try {
        await handle.writeFile(body);
        await handle.sync();
      } finally {
        await handle.close();
      }
    } catch (error) {
      fileBytes -= body.length;
      await rm(join(dir, file), { force: true });
      throw error;
    }
  };
  const answerOf = async (stored: StoredAnswer): Promise<Answer> => {
    if (stored.outcome === undefined) throw unknown();
    const { receipt, ...outcome } = JSON.parse(stored.outcome);
    const line = { ...receipt, priceUnits: BigInt(receipt.priceUnits) };
    if (!outcome.ok) return { ...outcome, receipt: line };
    const body =
      stored.body ??
      (stored.file && (await readFile(join(dir, stored.file)).catch(() => undefined)));
    if (!body) {
      throw new DefaasError(
        'ANSWER_EXPIRED',
        'the call was answered and charged once, its answer is no longer stored, use a fresh Idempotency-Key',
        { members: { receipt: receipt.id } },
      );
    }
    return { ...outcome, body, receipt: line };
  };

  return {
    once: ({ invocation, caller, target, key }, run) => {
      const functionId = target.function.id.toString(16);
      const { signed } = caller;
      // The first half of a nonce identifies the call in its lane; a client derives it from the key
      // where there is one. The second half changes when the same call is signed again for another
      // maximum price.
      const scope = signed
        ? hashOf(caller.payer, caller.signer, signed.call.nonce.slice(0, NAME_CHARACTERS))
        : hashOf(caller.payer, functionId, key ?? '', ...whoOf(caller, invocation));
      const fingerprint = hashOf(
        invocation.method,
        invocation.path,
        invocation.query,
        invocation.eventDigest ?? invocation.body,
        ...(signed ? [functionId] : []),
      );
      const first = inFlight.get(scope);
      if (first !== undefined) {
        if (first.fingerprint !== fingerprint) return Promise.reject(mismatch());
        return first.answer.then((answer) => ({ ...answer, isReplay: true }));
      }
      const { idempotent } = target.version;
      let isClaimed = false;
      const claim = async (): Promise<void> => {
        await ledger.putAnswer({ scope, fingerprint, atMs: nowMs() });
        isClaimed = true;
      };
      const keyed: KeyedCall = {
        begin: () => (idempotent ? undefined : claim()),
        keep: async (body) => {
          const isLarge = body.length > MAX_LEDGER_BYTES;
          const hasRoom = fileBytes + body.length <= options.maxFileBytes;
          if (isLarge && hasRoom) await writeFile(scope, body);
          const atMs = nowMs();
          return (answer) => {
            // A failed call of an idempotent version may be tried again under its key.
            if (!answer.ok && idempotent) return undefined;
            const outcome = outcomeText(answer);
            const place = isLarge ? hasRoom && { file: scope } : { body };
            return { scope, fingerprint, atMs, outcome, ...(answer.ok && place) };
          };
        },
      };
      const firstRun = async (): Promise<Answer> => {
        const stored = await ledger.answer(scope);
        if (stored !== undefined && stored.atMs > nowMs() - KEPT_MS) {
          if (stored.fingerprint !== fingerprint) throw mismatch();
          return { ...(await answerOf(stored)), isReplay: true };
        }
        try {
          return await run(keyed);
        } catch (error) {
          const nothingRan = error instanceof DefaasError && error.code !== 'LEDGER_FAILED';
          if (isClaimed && nothingRan) await ledger.dropAnswer(scope);
          throw error;
        }
      };
      const answer = firstRun().finally(() => inFlight.delete(scope));
      inFlight.set(scope, { fingerprint, answer });
      return answer;
    },
    close: () => clearInterval(timer),
  };
}

function outcomeText(answer: Answer): string {
  const receipt = { ...answer.receipt, priceUnits: `${answer.receipt.priceUnits}` };
  if (!answer.ok) return JSON.stringify({ ...answer, receipt });
  const { body: _body, ...rest } = answer;
  return JSON.stringify({ ...rest, receipt });
}

/**
 * Identifies the caller among those that one payer pays for, so that nobody gets another caller's
 * answer by guessing its key: by the lane's key, and by the name of whoever the lane was handed on
 * to. A sponsor's caller shows no token: it is known by all headers that the function sees, except
 * those that differ between attempts.
 */
function whoOf(
  { sponsored, signer, holder }: Caller,
  { headers, eventDigest }: Invocation,
): string[] {
  if (!sponsored) return [signer, holder ?? ''];
  const own = forwardedHeaders(headers)
    .filter(([name]) => !PER_ATTEMPT_HEADERS.has(name))
    .filter(([name]) => eventDigest === undefined || !EVENT_TRANSPORT_HEADERS.test(name));
  // Of an event also its content: else a stranger could use up the ids of others' events.
  return [hashOf(...own.flat()), eventDigest ?? ''];
}

/** Hash over length-prefixed parts, 64 hex digits. */
function hashOf(...parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('hex');
}

function mismatch(): DefaasError {
  return new DefaasError(
    'IDEMPOTENCY_MISMATCH',
    'the Idempotency-Key was used for a call with another body or query, use a fresh key',
  );
}

function unknown(): DefaasError {
  return new DefaasError(
    'INVOCATION_UNKNOWN',
    'the call under this key began before a crash of the gateway, its outcome is unknown; it was not charged and does not run again',
  );
}
