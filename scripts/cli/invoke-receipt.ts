// `defaas invoke` checks a call's receipt against the request, the answer and the chain.
import type { ChainReader } from '../../broker/client/chain-reader.ts';
import { elapsedOf } from '../../broker/client/cover.ts';
import { DefaasClientError } from '../../broker/client/errors.ts';
import type { InvokeReply, ReceiptSummary } from '../../broker/client/invoke.ts';
import {
  committedOf,
  type InvokeRequest,
  type KeyedRequest,
} from '../../broker/client/invoke-request.ts';
import { ownCallsKey } from '../../broker/client/own-calls.ts';
import { fetchReceipt, type ReceiptDocument } from '../../broker/client/receipts.ts';
import type { Session } from '../../broker/client/session.ts';
import { verifyReceipt } from '../../broker/client/verify-receipt.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { hasLaneKey, readLaneKey } from './account.ts';
import { type Opened, openSession } from './context.ts';
import type { StoredLane } from './store.ts';

/**
 * Checks the call's receipt against what was sent and what came back, and stores it: later receipts
 * of the gateway are compared with it.
 * @throws RECEIPT_INVALID, and the codes of the gateway
 */
export async function checkReceipt(
  opened: Opened,
  called: {
    readonly reader: ChainReader;
    readonly session: Session;
    readonly reply: InvokeReply;
    readonly request: KeyedRequest;
    readonly output: Uint8Array;
  },
): Promise<ReceiptSummary> {
  const { connection, store, account } = opened;
  const { reader, reply, request, output } = called;
  const { id } = reply.receipt;
  // A replay may have the receipt of another lane. The gateway shows all of it to the payer only,
  // not to this lane's key.
  const isReplay = reply.response.headers.has('idempotent-replayed');
  const session = isReplay ? await openSession(opened, account) : called.session;
  const document = await fetchReceipt(session, id);
  const lane = laneOf(opened, called.session, document, isReplay);
  // A receipt that was paid before with this key may exceed what --max allows now.
  const isKnown = isReplay && store.receipts(lane).get(document.receipt.seq) === id;
  await verifyReceipt(document, {
    domain: connection.domain,
    gateway: connection.document.gateway,
    lane,
    chain: reader,
    id,
    functionVersion: await versionOf(reader, document, request, isReplay),
    maxPriceUnits: isKnown ? undefined : request.maxPriceUnits,
    ownCallsKey: ownCallsKeyOf(opened, lane),
    idempotencyKey: reply.idempotencyKey,
    elapsedMsOf: (own) => elapsedOf(store.laneMemory(lane), own),
    request: committedOf(request),
    ...(!isCompressed(reply.response) && { output }),
  });
  store.putReceipt(document);
  const { provider, receipt } = document;
  return { id, provider, priceUnits: receipt.price, seq: receipt.seq };
}

/** Undefined for a replay of a lane whose key is gone: its own calls cannot be recognised. */
function ownCallsKeyOf({ house }: Opened, { signer }: StoredLane): Hex | undefined {
  if (!hasLaneKey(house.home, signer)) return undefined;
  return ownCallsKey(readLaneKey(house.home, signer).privateKey);
}

/**
 * The lane that must have paid: the call's, or for a replay any of the account's on this machine.
 */
function laneOf(
  { store, account }: Opened,
  session: Session,
  { receipt }: ReceiptDocument,
  isReplay: boolean,
): StoredLane {
  const own = session.lane as StoredLane; // the caller was made with it
  if (!isReplay) return own;
  return store.lanes(account.address).find(({ signer }) => signer === receipt.signer) ?? own;
}

/**
 * The version that the receipt names. It must be of the function that was called, and have the
 * number that the caller gave. Which version an alias meant, or an earlier call had, is the
 * gateway's word.
 * @throws RECEIPT_INVALID
 */
async function versionOf(
  reader: ChainReader,
  { id, function: ran }: ReceiptDocument,
  request: InvokeRequest,
  isReplay: boolean,
): Promise<Hex> {
  const [name, reference = ''] = request.function.split('@');
  const [, number] = /@(\d{1,9})$/.exec(ran) ?? [];
  const isPinned = /^\d+$/.test(reference) && !isReplay;
  if (number === undefined || (isPinned && Number(reference) !== Number(number))) {
    throw new DefaasClientError(
      'RECEIPT_INVALID',
      `receipt ${id} is for ${ran}, called was ${request.function}; nothing more is signed for this gateway`,
    );
  }
  return reader.functionVersion(`${name}@${number}`);
}

/** Whether fetch has decompressed the output. The gateway has hashed the compressed bytes. */
export function isCompressed({ headers }: Response): boolean {
  return (headers.get('content-encoding') ?? 'identity') !== 'identity';
}
