// `defaas receipts`: lists what the gateway says it was paid for, and compares it with what this
// machine saw.
import { SPONSOR_KIND } from '../../broker/client/mandates.ts';
import type { ReceiptDocument } from '../../broker/client/receipts.ts';
import { fetchReceipts } from '../../broker/client/receipts.ts';
import type { Chain } from '../../contracts/chain.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { verifyPath } from '../../contracts/libraries/ordered-merkle.ts';
import { hashReceipt, NO_AUTHORITY } from '../../contracts/libraries/receipts.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { hashReceiptGroup } from '../../contracts/libraries/typed-data.ts';
import { recoverAddress } from '../../contracts/signatures.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import { type Flags, type Outcome, openGateway, openSession } from './context.ts';
import type { Store, StoredLane } from './store.ts';
import { formatTable } from './table.ts';

/** Role bit of a key that signs for a gateway (Identity). */
const GATEWAY_ROLE = 1;

/**
 * Lists all receipts of the active account, oldest first; `--limit` keeps the newest ones.
 * @throws CliError USAGE
 */
export async function receipts(
  flags: Flags,
  options: { readonly limit?: string },
): Promise<Outcome> {
  const limit = parseLimit(options.limit);
  const opened = await openGateway(flags, { allowRevoked: true });
  const chain = await openChain(opened);
  try {
    const { account, store, connection } = opened;
    const payer = account.address;
    const session = await openSession(opened, account);
    const found: ReceiptDocument[] = [];
    const differences: string[] = [];
    const isSigned = createSignatureCheck(chain, connection.document.gateway);
    // The chain knows all lanes of the account, including those that another machine opened.
    for (const { signer } of chain.view.lanes(payer, connection.document.gateway)) {
      const lane = { payer, signer };
      const listed: ReceiptDocument[] = [];
      for await (const document of fetchReceipts(session, lane)) listed.push(document);
      differences.push(...compare(lane, listed, store));
      for (const document of listed) {
        if (!isSigned(document, lane)) {
          differences.push(`receipt ${document.id} is not signed by a key of the gateway`);
        }
      }
      found.push(...listed);
    }
    found.sort((a, b) => order(a) - order(b) || a.receipt.seq - b.receipt.seq);
    const callers = callersOf(account.address, store);
    const shown = limit === undefined ? found : found.slice(-limit);
    return {
      document: shown.map((document) => row(document, callers)),
      text: textOf(shown, callers),
      ...(differences.length > 0 && {
        failure: {
          code: 'RECEIPT_INVALID',
          message: `${differences.join('; ')}, sign nothing more and run defaas audit`,
        },
      }),
    };
  } finally {
    chain.close();
    opened.close();
  }
}

function parseLimit(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,8}$/.test(text)) {
    throw new CliError('USAGE', `--limit must be a whole number above 0, got "${text}"`);
  }
  return Number(text);
}

/**
 * Checks whether a receipt is in a group that a key of the gateway has signed. The chain tells
 * which keys are or were the gateway's. A group covers many receipts, and its signature is checked
 * once.
 */
function createSignatureCheck({ view, domain }: Pick<Chain, 'view' | 'domain'>, gateway: Address) {
  const keys = new Set<Address>();
  for (const { key, role } of view.operatorKeys(gateway)) {
    if ((role & GATEWAY_ROLE) !== 0) keys.add(key);
  }
  const signers = new Map<string, Address | undefined>();
  return ({ id, receipt, group }: ReceiptDocument, { payer, signer }: StoredLane): boolean => {
    const isOurs =
      receipt.payer === payer && receipt.signer === signer && receipt.gateway === gateway;
    if (!isOurs || !verifyPath(id, group.index, group.count, group.path, group.root)) return false;
    const { root, count, signature } = group;
    const what = `${root} ${count} ${signature}`;
    if (!signers.has(what)) {
      signers.set(
        what,
        recoverAddress(hashReceiptGroup(domain, { gateway, root, count }), signature),
      );
    }
    const by = signers.get(what);
    return by !== undefined && keys.has(by);
  };
}

/**
 * Finds receipts that this machine has but the gateway shows differently or not at all, and gaps in
 * what it shows.
 */
function compare(lane: StoredLane, listed: readonly ReceiptDocument[], store: Store): string[] {
  const shown = new Map(listed.map((document) => [document.receipt.seq, document.id]));
  const differences: string[] = [];
  for (const [seq, id] of store.receipts(lane)) {
    const other = shown.get(seq);
    if (other === undefined) differences.push(`receipt ${id} (seq ${seq}) is gone`);
    else if (other !== id) differences.push(`receipt ${id} (seq ${seq}) became ${other}`);
  }
  let units = 0n;
  for (const [index, { id, receipt }] of listed.entries()) {
    units += receipt.price;
    const isNext = receipt.seq === index + 1 && receipt.cumulative === units;
    if (!isNext || hashReceipt(receipt) !== id)
      differences.push(`receipt ${id} is not the next of its lane`);
  }
  return differences;
}

function order(document: ReceiptDocument): number {
  return document.execution.finishedAtSec;
}

/**
 * Tells who made a call that the account paid for: itself, the holder of a token, or anybody whom a
 * publisher pays for. The terms of a mandate are known on the machine that signed it.
 */
function callersOf(payer: Address, store: Store): (authority: Hex) => string {
  const kinds = new Map<Hex, string>();
  for (const lane of store.mandatedLanes(payer)) {
    for (const { hash, mandate } of store.laneMemory(lane).mandates()) {
      kinds.set(hash, mandate.kind === SPONSOR_KIND ? 'anybody' : 'token');
    }
  }
  return (authority) =>
    authority === NO_AUTHORITY ? payer : (kinds.get(authority) ?? `mandate ${authority}`);
}

function row(
  { id, function: name, provider, receipt, call, execution, settled }: ReceiptDocument,
  callers: (authority: Hex) => string,
) {
  return {
    id,
    caller: callers(call.authority),
    payer: receipt.payer,
    signer: receipt.signer,
    function: name,
    provider,
    priceUnits: receipt.price,
    seq: receipt.seq,
    settled,
    status: execution.status,
    billedMs: execution.billedMs,
    attempt: receipt.attempt,
    finishedAtSec: execution.finishedAtSec,
  };
}

function textOf(shown: readonly ReceiptDocument[], callers: (authority: Hex) => string): string {
  if (shown.length === 0) return 'no receipts yet';
  const units = shown.reduce((sum, { receipt }) => sum + receipt.price, 0n);
  const rows = shown.map(({ id, function: name, provider, receipt, call, execution, settled }) => [
    new Date(execution.finishedAtSec * 1000).toISOString().slice(0, 19).replace('T', ' '),
    name.replace(/^0x[0-9a-f]{40}\//, ''),
    callers(call.authority),
    provider,
    execution.status === 0 ? 'failed' : execution.status,
    `${execution.billedMs} ms`,
    formatTokens(receipt.price),
    receipt.seq,
    settled ? 'settled' : 'open',
    id,
  ]);
  const head = [
    'when (UTC)',
    'function',
    'caller',
    'ran on',
    'status',
    'billed',
    'tokens',
    'seq',
    'state',
    'receipt',
  ];
  return `${formatTable(head, rows)}\n${shown.length} receipts, ${formatTokens(units)} tokens`;
}
