// The outcome of `defaas invoke`: what it prints, writes to a file and exits with.
import { accessSync, constants, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { DefaasClientError } from '../../broker/client/errors.ts';
import type { ReceiptSummary } from '../../broker/client/invoke.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { CliError, describeError } from './cli-error.ts';
import { type Flags, note, type Outcome } from './context.ts';
import { userPath } from './house.ts';

/** A reply that was read to its end, and its receipt. */
export interface CheckedReply {
  readonly response: Response;
  readonly output: Uint8Array;
  /** From the checked receipt, or from the reply's headers if it could not be checked. */
  readonly receipt: ReceiptSummary;
  readonly lowBalanceUnits?: bigint;
  /** The receipt commits to the compressed output, which fetch does not expose. */
  readonly isCompressed?: boolean;
  /** Why the receipt could not be checked. */
  readonly failure?: Outcome['failure'];
}

export function outcomeOf(flags: Flags, reply: CheckedReply, out: string | undefined): Outcome {
  const { response, receipt, output, lowBalanceUnits, isCompressed = false } = reply;
  const { id, provider, priceUnits, seq } = receipt;
  const text = decodeText(output);
  const document = {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    ...(text === undefined
      ? { bodyBase64: Buffer.from(output).toString('base64') }
      : { body: text }),
    receipt: { id, provider, priceUnits, seq },
  };
  const problem = problemIn(response, text);
  // The function gave no answer, so only the reason is printed and nothing is written.
  if (problem) return { document, failure: problem };
  const unwritten = out === undefined ? undefined : write(out, output);
  const isKept = out !== undefined && !unwritten;
  const kept = isKept ? ` · ${output.length} bytes in ${out}` : '';
  const price = `${formatTokens(priceUnits)} tokens`;
  if (lowBalanceUnits !== undefined) {
    note(flags, `low balance: ${formatTokens(lowBalanceUnits)} tokens left, run defaas deposit`);
  }
  if (isCompressed) {
    note(flags, `the output was not checked against its receipt: it came compressed`);
  }
  note(flags, `${response.status} · ${provider} · ${price} · receipt ${id}${kept}`);
  const isLine = text !== undefined && process.stdout.isTTY && !text.endsWith('\n');
  const failure = unwritten ?? reply.failure ?? refusalOf(response);
  return {
    document,
    ...(!isKept && { bytes: isLine ? Buffer.from(`${text}\n`) : output }),
    ...(failure && { failure }),
  };
}

function refusalOf({ status }: Response): Outcome['failure'] {
  if (status < 400) return undefined;
  return {
    code: 'FUNCTION_STATUS',
    exitCode: 3,
    message: `the function answered ${status}, and was paid for it, look at its answer`,
  };
}

/** Writes the output. Its failure is returned: the paid output then goes to stdout. */
function write(out: string, output: Uint8Array): Outcome['failure'] {
  try {
    writeFileSync(userPath(out), output);
    return undefined;
  } catch (error) {
    return describeError(error);
  }
}

/** Checks before the call is paid that `--out` can be written. @throws CliError FILE_UNREADABLE */
export function refuseUnwritable(out: string): void {
  const path = userPath(out);
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory()) throw new Error('it is a folder');
    accessSync(found ? path : dirname(path), constants.W_OK);
    if (!found && !statSync(dirname(path)).isDirectory()) throw new Error('its folder is a file');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CliError(
      'FILE_UNREADABLE',
      `the answer could not be written (${why}), on ${path}, so nothing was called, check --out`,
      { cause },
    );
  }
}

/**
 * The gateway's problem document of a function that failed. A function may also answer with that
 * media type, so the document's `type` decides.
 */
function problemIn(response: Response, text: string | undefined) {
  const isProblem = response.headers.get('content-type')?.startsWith('application/problem+json');
  if (response.status < 500 || !isProblem || text === undefined) return undefined;
  try {
    const { code, detail, type } = JSON.parse(text);
    return type === `urn:defaas:error:${code}` ? { code, message: detail } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The outcome of a call that the gateway refused: with `--json` the problem document is printed as
 * the body.
 * @throws the error itself when it is no refusal
 */
export function refusal(error: unknown): Outcome {
  if (!(error instanceof DefaasClientError) || !error.problem) throw error;
  const { code, message, status, problem } = error;
  return {
    document: {
      status,
      headers: { 'content-type': 'application/problem+json' },
      body: JSON.stringify(problem),
      receipt: null,
      problem,
    },
    failure: { code, message },
  };
}

/** The text, or undefined if the bytes are not UTF-8. */
function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
