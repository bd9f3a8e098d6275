// `defaas invoke <function>`: one call, paid from the account's lane. Its receipt is checked before
// anything more is signed.
import type { ChainReader } from '../../broker/client/chain-reader.ts';
import type { Connection } from '../../broker/client/connection.ts';
import { DefaasClientError } from '../../broker/client/errors.ts';
import {
  createCaller,
  type InvokeReply,
  invokeSponsored,
  SAY_NOTHING,
} from '../../broker/client/invoke.ts';
import {
  type InvokeRequest,
  type KeyedRequest,
  withKey,
} from '../../broker/client/invoke-request.ts';
import type { Session } from '../../broker/client/session.ts';
import { readLaneKey } from './account.ts';
import { openReader } from './chain.ts';
import { describeError } from './cli-error.ts';
import { type Flags, type Opened, type Outcome, openGateway, openSession } from './context.ts';
import { formatFunctionName, parseFunctionName } from './function-name.ts';
import { type CheckedReply, outcomeOf, refusal, refuseUnwritable } from './invoke-outcome.ts';
import { checkReceipt, isCompressed } from './invoke-receipt.ts';
import { type InvokeOptions, readRequest } from './invoke-request.ts';
import { lanesHere, noLane } from './lanes-here.ts';
import type { StoredLane } from './store.ts';

/** Longest wait for receipts that the gateway does not show, ms. */
const PATIENCE_MS = 10_000;

/**
 * Calls a function. Succeeds when it answers with a status below 400. The paid answer is printed
 * also when its receipt cannot be checked.
 * @throws CliError FILE_UNREADABLE `--out` cannot be written; LANE_UNKNOWN nothing was deposited,
 *   KEY_MISSING; DefaasClientError PRICE_ABOVE_MAX, RECEIPT_INVALID, and the gateway's codes
 */
export async function invoke(
  flags: Flags,
  target: string,
  options: InvokeOptions,
): Promise<Outcome> {
  // Wrong options fail before a gateway is asked.
  const request = readRequest(options);
  if (options.out !== undefined) refuseUnwritable(options.out);
  const opened = await openGateway(flags);
  try {
    const name = formatFunctionName(parseFunctionName(target, opened.account.address));
    const reply = await callAndCheck(opened, {
      ...request,
      function: name,
      patienceMs: PATIENCE_MS,
    });
    return outcomeOf(flags, reply, options.out);
  } catch (error) {
    return refusal(error);
  } finally {
    opened.close();
  }
}

async function callAndCheck(opened: Opened, given: InvokeRequest): Promise<CheckedReply> {
  // One idempotency key for all tries: the call is charged once, whichever lane pays.
  const request = withKey(given);
  const lanes = lanesHere(opened);
  if (lanes.length === 0) return callSponsored(opened, request);
  const reader = openReader(opened);
  try {
    const { reply, session } = await call(opened, reader, lanes, request);
    const output = await readOutput(reply.response, request);
    const answer = { ...reply, output, isCompressed: isCompressed(reply.response) };
    try {
      const receipt = await stoppingLane(opened, session, () =>
        checkReceipt(opened, { reader, session, reply, request, output }),
      );
      return { ...answer, receipt };
    } catch (error) {
      const { code, message } = describeError(error);
      if (code === 'RECEIPT_INVALID') throw error;
      const what = `the answer is here and was paid for, its receipt ${reply.receipt.id} is not checked, run defaas receipts`;
      return { ...answer, failure: { code, message: `${message}; ${what}` } };
    }
  } finally {
    reader.close();
  }
}

/** Stops the call's lane for good when `act` fails with evidence of a lie. */
async function stoppingLane<T>(
  { store }: Opened,
  { lane }: Session,
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof DefaasClientError && error.evidence && lane) {
      store.laneMemory(lane).stop(error);
    }
    throw error;
  }
}

/**
 * Calls without a token, which only functions allow whose publisher pays.
 * @throws LANE_UNKNOWN the caller pays, and has no lane
 */
async function callSponsored(opened: Opened, request: KeyedRequest): Promise<CheckedReply> {
  try {
    const reply = await send(opened, request, (connection) => invokeSponsored(connection, request));
    return { ...reply, output: await readOutput(reply.response, request) };
  } catch (error) {
    if (!(error instanceof DefaasClientError) || error.code !== 'TOKEN_MISSING') throw error;
    throw noLane(opened, 'run defaas deposit', error);
  }
}

/** Calls through the newest lane, and through the next older one when a lane is used up. */
async function call(
  opened: Opened,
  reader: ChainReader,
  lanes: readonly StoredLane[],
  request: KeyedRequest,
): Promise<{ reply: InvokeReply; session: Session }> {
  const { store, house } = opened;
  for (const [index, lane] of lanes.entries()) {
    try {
      return await send(opened, request, async (connection) => {
        const key = readLaneKey(house.home, lane.signer);
        const session = await openSession({ connection, store }, key, lane);
        const caller = createCaller({
          session,
          chain: reader,
          memory: store.laneMemory(lane),
          onReceipt: (document) => store.putReceipt(document),
        });
        return { reply: await caller.invoke(request), session };
      });
    } catch (error) {
      if (index === lanes.length - 1 || !isUsedUp(error)) throw error;
    }
  }
  throw noLane(opened, 'run defaas deposit');
}

/**
 * @throws as `attempt`. When the call was sent and no answer came, the message says how to repeat
 *   it without paying twice.
 */
async function send<T>(
  { connection }: Opened,
  request: KeyedRequest,
  attempt: (connection: Connection) => Promise<T>,
): Promise<T> {
  let wasSent = false;
  const watched: Connection = {
    ...connection,
    send: (path, options) => {
      wasSent ||= path.startsWith('/functions/');
      return connection.send(path, options);
    },
  };
  try {
    return await attempt(watched);
  } catch (error) {
    const isSilent = error instanceof DefaasClientError && SAY_NOTHING.has(error.code);
    throw wasSent && isSilent ? unanswered(error, request) : error;
  }
}

function unanswered(error: DefaasClientError, { idempotencyKey }: KeyedRequest): DefaasClientError {
  const { code, message, status, problem } = error;
  return new DefaasClientError(
    code,
    `${message}; the call may have run, ask the same again with --header 'Idempotency-Key: ${idempotencyKey}', then it is charged once`,
    { cause: error, ...(status !== undefined && { status }), ...(problem && { problem }) },
  );
}

/** The whole output. @throws GATEWAY_UNREACHABLE the connection broke before its end */
async function readOutput(response: Response, request: KeyedRequest): Promise<Uint8Array> {
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `the answer of ${request.function} broke off: ${why}`;
    throw unanswered(new DefaasClientError('GATEWAY_UNREACHABLE', message, { cause }), request);
  }
}

function isUsedUp(error: unknown): boolean {
  return (
    error instanceof DefaasClientError &&
    error.code === 'PAYMENT_REQUIRED' &&
    ['cap', 'expiry', 'lane'].includes(String(error.problem?.reason))
  );
}
