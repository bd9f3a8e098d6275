// What a stranger needs to know before a call. GET /functions/{owner} lists an owner's functions.
// GET /functions/{owner}/{name}[@version]/.well-known/defaas says of one function what a call
// costs, who may call it and, step by step, what to send and to sign. Both are free and need no
// token.

import type { FastifyInstance } from 'fastify';
import type { FunctionVersion, RegisteredFunction } from '../../contracts/chain/types.ts';
import { ACCESS_MODES } from '../../contracts/libraries/names.ts';
import { RECEIPT_TYPE } from '../../contracts/libraries/receipts.ts';
import { DECIMALS } from '../../contracts/libraries/tokens.ts';
import { billingDomain, TYPES } from '../../contracts/libraries/typed-data.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { ownOrigins } from '../http/bearer.ts';
import { sponsorshipOf } from '../invocation/authenticate.ts';
import { worstPriceOf } from '../invocation/price.ts';
import { resolveTarget } from '../invocation/resolve.ts';
import { callLimits } from '../routing/call-limits.ts';
import type { Target } from '../routing/target.ts';

/** Below a function's address. Requests for it are never calls. */
export const DESCRIPTION_PATH = '/.well-known/defaas';

const PREPAID = 1;
/** The chain of development machines; its token can be minted by everybody. */
const LOCAL_CHAIN_ID = 31337;

/** The newest that are listed: anybody may ask, and an owner may have any number. */
const MAX_FUNCTIONS = 100;
const MAX_VERSIONS = 20;

type Parts = Pick<
  Gateway,
  | 'address'
  | 'authenticate'
  | 'beacon'
  | 'chain'
  | 'config'
  | 'deployments'
  | 'groupSigner'
  | 'lanes'
  | 'mandates'
  | 'nowMs'
  | 'seenNonces'
>;

export async function describeRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  const originOf = (): string => ownOrigins(server, gateway)[0] ?? '';

  server.get<{ Params: { owner: string } }>('/functions/:owner', async (request) => {
    const { owner } = request.params;
    const { view } = gateway.chain;
    const namespace = view.resolveNamespace(owner.toLowerCase());
    if (namespace === undefined) {
      throw new DefaasError('FUNCTION_UNKNOWN', `no owner ${owner} on this chain, check the name`);
    }
    const all = view.functionsOf(namespace);
    const first = Math.max(0, all.length - MAX_FUNCTIONS);
    const functions = all.slice(first).map((fn) => summaryOf(gateway, fn, originOf()));
    return { owner: namespace, count: all.length, functions };
  });

  server.get<{ Params: { owner: string; name: string } }>(
    '/functions/:owner/:name/.well-known/defaas',
    async (request) => {
      const { owner, name: text } = request.params;
      const [name = '', reference = 'latest'] = text.split('@');
      const target = resolveTarget(gateway.chain, { owner, name, reference });
      return describe(gateway, target, originOf());
    },
  );
}

function summaryOf({ chain }: Pick<Parts, 'chain'>, fn: RegisteredFunction, origin: string) {
  const url = urlOf(origin, fn);
  const version = chain.view.versionOf(fn);
  return {
    name: fn.name,
    url,
    description: `${url}${DESCRIPTION_PATH}`,
    latest: fn.latest || null,
    access: version ? ACCESS_MODES[version.accessMode] : null,
  };
}

function describe(gateway: Parts, target: Target, origin: string) {
  const { function: fn, version } = target;
  const { deployments, chain, config } = gateway;
  const manifest = deployments.manifest(version.functionVersion);
  const url = urlOf(origin, fn);
  const isFree = sponsorshipOf(gateway, target) !== undefined && manifest?.payer === 'publisher';
  const worst = worstPriceOf(version);
  const candidates = deployments.live(version.functionVersion);
  const live = [...candidates.values()];
  const sizes = callLimits(candidates);
  return {
    function: `${fn.namespace}/${fn.name}`,
    functionId: `0x${fn.id.toString(16).padStart(64, '0')}`,
    owner: fn.owner,
    url,
    version: version.number,
    latest: fn.latest,
    versions: fn.versions
      .slice(-MAX_VERSIONS)
      .flatMap((hash) => chain.view.versionByHash(hash) ?? [])
      .map((one) => versionDocument(one, url)),
    access: ACCESS_MODES[version.accessMode],
    /** Whether a call without a token is served now, paid by the publisher. */
    freeForCallers: isFree,
    payer: manifest?.payer ?? null,
    price: {
      token: chain.contracts.token,
      decimals: DECIMALS,
      perCallUnits: `${version.tariff.perCall}`,
      perGiBSecondUnits: `${version.tariff.perGiBSecond}`,
      mostUnits: `${worst}`,
    },
    limits: {
      timeoutMs: version.timeoutMs,
      memoryMiB: version.memoryMiB,
      bodyMaxBytes: Math.min(config.bodyMaxBytes, sizes.requestBytes),
      answerMaxBytes: Number.isFinite(sizes.answerBytes) ? sizes.answerBytes : null,
    },
    runsOn: live.map(({ provider, deployment: { region } }) => ({
      provider: provider.name,
      region,
    })),
    steps: isFree
      ? [callStep(url, worst, { isFree }), receiptStep(gateway, origin)]
      : stepsOf(gateway, { url, origin, worst }),
  };
}

function versionDocument({ number, accessMode, deprecated }: FunctionVersion, url: string) {
  return { number, access: ACCESS_MODES[accessMode], deprecated, url: `${url}@${number}` };
}

function urlOf(origin: string, { namespace, name }: RegisteredFunction): string {
  return `${origin}/functions/${namespace}/${name}`;
}

interface Offer {
  readonly url: string;
  readonly origin: string;
  /** The most that a call can cost, base units. */
  readonly worst: bigint;
}

/**
 * From nothing to a paid call. `<...>` is for the caller to fill in: `account`, its address in
 * lower case (`Account` with EIP-55 capitals); `units`, how much to set aside.
 */
function stepsOf(gateway: Parts, offer: Offer) {
  return [
    depositStep(gateway),
    voucherStep(gateway),
    signInStep(gateway, offer),
    callStep(offer.url, offer.worst, { isFree: false }),
    receiptStep(gateway, offer.origin),
  ];
}

function depositStep({ address: gateway, chain, config }: Parts) {
  const { billing, token } = chain.contracts;
  const mint = { to: token, function: 'mint(address,uint256)', args: ['<account>', '<units>'] };
  return {
    step: 'deposit',
    what: 'Set money aside at this gateway and open a lane. Check the contracts against a file of deployments that you trust.',
    chainId: chain.chainId,
    rpcUrl: config.chainPublicRpcUrl ?? null,
    transactions: [
      ...(chain.chainId === LOCAL_CHAIN_ID ? [mint] : []),
      { to: token, function: 'approve(address,uint256)', args: [billing, '<units>'] },
      { to: billing, function: 'deposit(address,uint256)', args: ['<account>', '<units>'] },
      { to: billing, function: 'allot(address,uint128)', args: [gateway, '<units>'] },
      {
        to: billing,
        function: 'openLane(address,address,uint128,uint32,uint8)',
        args: [gateway, '<account>', '<units>', '<Unix seconds, 30 days ahead>', `${PREPAID}`],
      },
    ],
  };
}

function voucherStep({ address: gateway, chain }: Parts) {
  return {
    step: 'voucher',
    what: 'Sign how much the gateway may take in all (EIP-712). Sign no more than you are ready to lose to a lie.',
    typedData: {
      domain: billingDomain(chain.chainId, chain.contracts.billing),
      types: { Voucher: TYPES.Voucher },
      primaryType: 'Voucher',
      message: { payer: '<account>', gateway, signer: '<account>', ceiling: '<units>' },
    },
  };
}

function signInStep({ address: gateway, chain }: Parts, { origin }: Offer) {
  return {
    step: 'sign-in',
    what: 'Get a nonce, sign the message (ERC-4361, ERC-191), and exchange it for a token of 10 minutes.',
    nonce: { method: 'POST', url: `${origin}/oauth/nonce` },
    message: [
      `${new URL(origin).host} wants you to sign in with your Ethereum account:`,
      ...['<Account>', '', ''],
      `URI: ${origin}`,
      'Version: 1',
      `Chain ID: ${chain.chainId}`,
      'Nonce: <nonce>',
      'Issued At: <now, RFC 3339>',
      'Expiration Time: <now and 4 minutes, RFC 3339>',
      'Resources:',
      `- urn:defaas:lane:<account>:${gateway}:<account>`,
    ].join('\n'),
    token: {
      method: 'POST',
      url: `${origin}/oauth/token`,
      form: {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token_type: 'urn:defaas:params:oauth:token-type:siwe',
        subject_token: '<base64url of {"message": ..., "signature": ...}>',
      },
    },
  };
}

function callStep(url: string, worst: bigint, { isFree }: { readonly isFree: boolean }) {
  return {
    step: 'call',
    what: 'Any method, path, query and body. The answer names its receipt in Defaas-Receipt.',
    url,
    headers: isFree
      ? {}
      : {
          authorization: 'Bearer <access_token>',
          'defaas-voucher': '<units>:<signature of the voucher>',
          'defaas-max-price': `${worst}`,
          'defaas-nonce': '<0x and 64 hex digits, used once>',
        },
  };
}

function receiptStep({ address: gateway, chain, groupSigner }: Parts, origin: string) {
  return {
    step: 'receipt',
    what: 'Get the receipt and check it: its id is the struct hash of its fields; group.path leads from the id to group.root (pairs of keccak256; the root of one is itself); the group (EIP-712) is signed by a key of the gateway.',
    url: `${origin}/receipts/<Defaas-Receipt>`,
    keys: [groupSigner.key],
    typedData: {
      domain: billingDomain(chain.chainId, chain.contracts.billing),
      types: { ReceiptGroup: TYPES.ReceiptGroup },
      primaryType: 'ReceiptGroup',
      message: { gateway, root: '<group.root>', count: '<group.count>' },
    },
    receiptType: RECEIPT_TYPE,
  };
}
