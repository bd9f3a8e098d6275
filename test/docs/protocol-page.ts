// The examples and tables of docs/protocol.md, and the result of each example by our own code.
import { readFileSync } from 'node:fs';
import { getAddress } from 'ethers';
import { readBatch } from '../../broker/client/batch.ts';
import { MAX_PAGE_BYTES, MAX_ROOT_BYTES } from '../../broker/client/batch-format.ts';
import { commitAnswer, commitRequest } from '../../broker/client/commitments.ts';
import { createKeySigner } from '../../broker/client/key.ts';
import { mandatedNonce, tokenSubject } from '../../broker/client/mandates.ts';
import { ownCallsKey, ownNonce } from '../../broker/client/own-calls.ts';
import { parseReceipt } from '../../broker/client/receipts.ts';
import { signInMessage } from '../../broker/client/sign-in.ts';
import { NONCE_LIFE_MS } from '../../broker/identity/sign-in.ts';
import { TOKEN_LIFE_SEC } from '../../broker/identity/tokens.ts';
import { drawOrder, drawSeed } from '../../contracts/libraries/draw.ts';
import { fromHex, type Hex, keccak256Hex } from '../../contracts/libraries/keccak.ts';
import { cidOf, functionIdOf, functionVersionOf } from '../../contracts/libraries/names.ts';
import { createTree, rootOf } from '../../contracts/libraries/ordered-merkle.ts';
import {
  batchWord,
  hashCall,
  hashClaim,
  hashExecution,
  hashReceipt,
} from '../../contracts/libraries/receipts.ts';
import { priceOf, splitPrice } from '../../contracts/libraries/tariffs.ts';
import {
  hashDomain,
  hashMandate,
  hashPayout,
  hashReceiptGroup,
  hashSignedCall,
  hashVoucher,
} from '../../contracts/libraries/typed-data.ts';
import { recoverAddress, signDigest } from '../../contracts/signatures.ts';

export const PAGE = 'docs/protocol.md';

/** JSON of the page, which its own test reads: its members are not checked twice. */
type Given = ReturnType<JSON['parse']>;

export interface Example {
  readonly name: string;
  readonly given: Given;
  readonly gives: Given;
}

/** The blocks ```json example <name>, each an object of what is `given` and what that `gives`. */
export function readExamples(text = readFileSync(PAGE, 'utf8')): Example[] {
  return [...text.matchAll(/^```json example ([a-z-]+)\n(.*?)^```$/gms)].map(
    ([, name = '', json = '']) => ({ name, ...JSON.parse(json) }),
  );
}

/** By the name of an example: what its `given` gives by the code of this repository. */
export const RECOMPUTE: Readonly<Record<string, (given: Given) => Promise<object> | object>> = {
  hashes: async ({ text }) => {
    const bytes = new TextEncoder().encode(text);
    const sha256 = Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex');
    return { keccak256: keccak256Hex(bytes), sha256: `0x${sha256}` };
  },
  address: async ({ privateKey }) => {
    const { address } = await createKeySigner(privateKey);
    return { address, checksummed: getAddress(address) };
  },
  domain: ({ domain }) => ({ separator: hashDomain(domain) }),
  names: ({ namespace, name, registry, number }) => {
    const functionId = functionIdOf(namespace, name);
    return {
      functionId: wordOf(functionId),
      functionVersion: functionVersionOf(registry, functionId, number),
    };
  },
  cid: ({ codec, digest }) => ({ cid: cidOf(codec, digest) }),
  price: ({ tariff, memoryMiB, timeoutMs, execution, feeBps }) => {
    const terms = { tariff: tariffOf(tariff), memoryMiB, timeoutMs };
    const price = priceOf(execution, terms);
    const shares = splitPrice(price, feeBps, tariff.publisherBps);
    return {
      price: `${price}`,
      worst: `${priceOf({ status: 200, billedMs: timeoutMs, memoryMiB }, terms)}`,
      shares: texts(shares),
    };
  },
  thumbprint: async ({ jwk, accessToken }) => {
    const { crv, kty, x, y } = jwk;
    const jkt = await sha256Base64Url(JSON.stringify({ crv, kty, x, y }));
    const ath = await sha256Base64Url(accessToken);
    return { jkt, subject: tokenSubject(jkt), ath };
  },
  'sign-in': ({ origin, chainId, address, nonce, issuedAt, lane, gateway }) => {
    const connection = { origin, document: { ...NO_DOCUMENT, chainId, gateway } };
    const issuedAtMs = Date.parse(issuedAt);
    return {
      message: signInMessage({ connection, address, nonce, issuedAtMs, lane }).split('\n'),
    };
  },
  voucher: ({ domain, voucher, privateKey }) => {
    const digest = hashVoucher(domain, { ...voucher, ceiling: BigInt(voucher.ceiling) });
    const signature = signDigest(privateKey, digest);
    return { digest, signature, header: `${voucher.ceiling}:${signature}` };
  },
  'own-nonce': ({ privateKey, idempotencyKey, functionId, maxPrice }) => {
    const key = ownCallsKey(privateKey);
    const call = { functionId: BigInt(functionId), maxPriceUnits: BigInt(maxPrice) };
    const nonce = ownNonce(key, call, idempotencyKey);
    return { key, r: nonce.slice(0, 34), tag: `0x${nonce.slice(34)}`, nonce };
  },
  commitments: async ({ salt, method, target, body, status, answer }) => {
    const [sent, received] = [body, answer].map((text) => new TextEncoder().encode(text));
    return {
      input: await commitRequest(salt, { method, target, body: sent ?? new Uint8Array() }),
      output: await commitAnswer(salt, status, received ?? new Uint8Array()),
    };
  },
  'signed-call': ({ domain, call, privateKey }) => {
    const parsed = { ...call, maxPrice: BigInt(call.maxPrice) };
    const digest = hashSignedCall(domain, parsed);
    return { structHash: hashCall(parsed), digest, signature: signDigest(privateKey, digest) };
  },
  receipt: ({ domain, document }) => {
    const { receipt, call, execution, group } = parseReceipt(document);
    const digest = hashReceiptGroup(domain, { ...group, gateway: receipt.gateway });
    return {
      call: hashCall(call),
      execution: hashExecution(execution),
      receipt: hashReceipt(receipt),
      groupDigest: digest,
      signedBy: recoverAddress(digest, group.signature),
    };
  },
  mandate: ({ domain, mandate, item, privateKey }) => {
    const hash = hashMandate(domain, mandateOf(mandate));
    return { hash, signature: signDigest(privateKey, hash), nonce: mandatedNonce(hash, item) };
  },
  tree: ({ leaves }) => {
    const { root, path } = createTree(leaves);
    return { root, paths: leaves.map((_: Hex, index: number) => path(index)) };
  },
  epoch: ({ chainId, epoch, blockHash }) => {
    const words = `${wordOf(BigInt(chainId))}${wordOf(BigInt(epoch)).slice(2)}${blockHash.slice(2)}`;
    // Safe: words of hex, made above. Beacon.sol takes the low 192 bits.
    return { value: `0x${keccak256Hex(fromHex(words as Hex)).slice(18)}` };
  },
  draw: ({ value, payer, signer, nonce, ids }) => {
    const seed = drawSeed(value, { payer, signer, nonce });
    return { seed, order: drawOrder(seed, ids) };
  },
  batch: async ({ blocks, timestampSec }) => {
    const found = new Map<string, Uint8Array>();
    for (const { codec, hex } of blocks) {
      const bytes = Buffer.from(hex.join(''), 'hex');
      found.set(cidOf(codec, await sha256Hex(bytes)), bytes);
    }
    const cids = [...found.keys()];
    const batch = await readBatch(cids.at(-1) ?? '', async (cid) => {
      const bytes = found.get(cid);
      if (bytes === undefined) throw new Error(`the page has no block ${cid}`);
      return bytes;
    });
    const claims = batch.lanes.map(({ claim }) => hashClaim(claim));
    const ids: Hex[] = [];
    for await (const { receipt } of batch.lanes[0]?.receipts() ?? [])
      ids.push(hashReceipt(receipt));
    const { root } = batch.header;
    return {
      cids,
      receipts: ids,
      laneRoot: rootOf(ids),
      claims,
      root: rootOf(claims),
      word: batchWord(root, `0x${'00'.repeat(32)}`, claims.length, timestampSec),
    };
  },
  payout: ({ domain, payout, privateKey }) => {
    const digest = hashPayout(domain, { ...payout, cumulative: BigInt(payout.cumulative) });
    return { digest, signature: signDigest(privateKey, digest) };
  },
  limits: () => ({
    pageBytes: MAX_PAGE_BYTES,
    rootBlockBytes: MAX_ROOT_BYTES,
    accessTokenSec: TOKEN_LIFE_SEC,
    signInNonceSec: NONCE_LIFE_MS / 1000,
  }),
};

/** What `signInMessage` does not read of a gateway's document. */
const NO_DOCUMENT = {
  contracts: {
    registry: '0x',
    identity: '0x',
    billing: '0x',
    disputes: '0x',
    beacon: '0x',
    token: '0x',
    deployedAtBlock: 0,
  },
  feeBps: 0,
  providers: [],
} as const;

function tariffOf({ perCall, perGiBSecond, maxPrice, ...rest }: Given) {
  const money = {
    perCall: BigInt(perCall),
    perGiBSecond: BigInt(perGiBSecond),
    maxPrice: BigInt(maxPrice),
  };
  return { ...rest, ...money };
}

function mandateOf({ functionId, maxPrice, perDay, total, serial, ...rest }: Given) {
  const numbers = {
    functionId: BigInt(functionId),
    maxPrice: BigInt(maxPrice),
    perDay: BigInt(perDay),
    total: BigInt(total),
    serial: BigInt(serial),
  };
  return { ...rest, ...numbers };
}

function texts(amounts: object): object {
  return Object.fromEntries(Object.entries(amounts).map(([name, units]) => [name, `${units}`]));
}

function wordOf(value: bigint): Hex {
  return `0x${value.toString(16).padStart(64, '0')}`;
}

async function sha256Hex(bytes: Uint8Array<ArrayBuffer>): Promise<Hex> {
  return `0x${Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex')}`;
}

async function sha256Base64Url(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Buffer.from(digest).toString('base64url');
}
