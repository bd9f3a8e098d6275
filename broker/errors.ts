// The catalogue of error codes that callers of the gateway and users of the command line see.
// docs/errors.md lists the same codes.

interface ErrorEntry {
  /** HTTP status of the problem document; 0 for errors that only occur on the user's machine. */
  readonly status: number;
  readonly title: string;
  /** What the reader can do about it. */
  readonly remedy: string;
}

/**
 * Every code that the project can answer with. A code never changes once published. A test holds
 * docs/errors.md equal.
 */
export const ERRORS = {
  NODE_MISSING: entry(0, 'Node 26 is not available', 'install Node 26 and try again'),
  PORT_TAKEN: entry(0, 'The port is taken', 'stop the other program or set DEFAAS_PORT'),
  HOUSE_DOWN: entry(0, 'The house is not up', 'run npm start'),
  HOUSE_RUNNING: entry(0, 'The house is already up', 'use it, or stop it first'),
  CONFIG_INVALID: entry(0, 'The configuration is wrong', 'correct the named variables'),
  USAGE: entry(0, 'The command was called wrongly', 'see defaas help'),
  NOT_A_FUNCTION_FOLDER: entry(0, 'The folder is not a function', 'run defaas init <folder>'),
  FOLDER_EXISTS: entry(0, 'The folder exists already', 'choose another name'),
  FILE_UNREADABLE: entry(0, 'A file cannot be read or written', 'check the path'),
  KEY_MISSING: entry(0, 'The account has no key here', 'choose another account'),
  INSTALL_FAILED: entry(
    0,
    'The packages could not be installed',
    'read npm’s lines, check the network',
  ),
  VECTORS_MISSING: entry(0, 'The reference data is not there', 'set DEFAAS_VECTORS'),
  SANDBOX_MISSING: entry(0, 'There is no sandbox', 'install bubblewrap'),
  BROWSER_MISSING: entry(0, 'There is no browser', 'install chromium'),
  PYTHON_MISSING: entry(0, 'Python or its packages are missing', 'install what the message names'),
  HOUSE_START: entry(0, 'A part of the house did not start', 'see its log'),
  ACCOUNT_EMPTY: entry(0, 'The account cannot pay gas', 'send it some'),
  KEY_EXPOSED: entry(0, 'Others can read a key file', 'chmod 600 it'),
  GATEWAY_UNREACHABLE: entry(0, 'The gateway does not answer', 'check its address'),
  GATEWAY_PROTOCOL: entry(
    0,
    'The gateway answered in an unknown form',
    'check its address and version',
  ),
  DEPLOYMENT_MISSING: entry(
    0,
    'Nothing says which contracts to believe on this chain',
    'name a file with --deployment',
  ),
  DEPLOYMENT_INVALID: entry(0, 'The file of deployments is not valid', 'correct the named member'),
  DEPLOYMENT_CODE: entry(
    0,
    'The contracts are not those of this release',
    'check the file of deployments and the RPC URL',
  ),
  DEPLOYMENT_MISMATCH: entry(
    0,
    'The gateway names another chain, contracts or account than it should',
    'sign and send nothing, use another gateway',
  ),
  DEPLOYMENT_REFUSED: entry(
    0,
    'The contracts would not work on this chain with these terms',
    'change what the message names',
  ),
  DEPLOYMENT_REVOKED: entry(0, 'The contracts are revoked', 'run defaas withdraw'),
  DEPLOYMENT_UNCONFIRMED: entry(
    0,
    'A confirmation is missing',
    'check what the message names, then pass --yes',
  ),
  RPC_REQUIRED: entry(0, 'An RPC of your own is needed', 'pass --rpc or set DEFAAS_CHAIN_RPC_URL'),
  GATEWAYS_DOWN: entry(0, 'No gateway answered the call', 'try again shortly'),
  GATEWAY_BEHIND: entry(0, 'The gateway is behind the chain', 'check its chain RPC'),
  FUNCTION_STATUS: entry(0, 'The function answered with an error of its own', 'read its answer'),
  INSUFFICIENT_TOKENS: entry(
    0,
    'The account holds too few tokens',
    'send it some, or deposit less',
  ),
  INSUFFICIENT_BALANCE: entry(
    0,
    'The account has less than that in the house',
    'withdraw less, see defaas balance',
  ),
  NOTHING_TO_WITHDRAW: entry(0, 'There is nothing to withdraw', 'see defaas balance'),
  STILL_UNBONDING: entry(0, 'The bond is still at stake', 'run defaas leave when it is over'),
  FEE_TOO_HIGH: entry(0, 'The fee is above what Billing allows', 'name a lower one'),
  KEY_FILE_MISMATCH: entry(
    0,
    'The gateway reads its key from another file',
    'put the key there and run defaas rotate-key again',
  ),
  TERMS_CHANGE: entry(
    0,
    'Bond or fee of the gateway are about to change',
    'check whether that is right',
  ),
  KEY_RETIRING: entry(0, 'The gateway’s key is retired', 'the operator must run defaas rotate-key'),
  FLOATS_SHORT: entry(
    0,
    'Too little is set aside for payees',
    'deposit free money for the gateway',
  ),
  PAYOUT_SHORT: entry(0, 'Batches did not pay the account', 'run defaas collect'),
  PAYOUT_WAITING: entry(0, 'Money waits for the account', 'run defaas payouts --send'),
  NOTHING_DUE: entry(0, 'No gateway owes the account anything', 'see defaas payouts'),
  NOTHING_TO_COLLECT: entry(0, 'No voucher pays the account anything now', 'see defaas payouts'),
  GATEWAY_UNKNOWN: entry(0, 'The account is not a gateway on the chain', 'check its address'),
  NOTHING_TO_BAR: entry(0, 'The gateway runs nothing of the account', 'see defaas list'),
  RECEIPT_INVALID: entry(
    0,
    'A receipt is not what it must be',
    'sign nothing more, keep it, run defaas audit',
  ),
  EVIDENCE_INVALID: entry(
    400,
    'The file is not valid evidence',
    'ask whoever made it for another copy',
  ),
  EVIDENCE_EARLY: entry(
    0,
    'The receipt is not settled yet',
    'keep the file, try again when it is settled',
  ),
  RECEIPTS_MISSING: entry(
    0,
    'The gateway does not show a receipt',
    'wait: nothing is signed until it does',
  ),
  LANE_STOPPED: entry(
    0,
    'The gateway was found lying, the lane signs no more',
    'keep the evidence, withdraw, use another gateway',
  ),
  WATCH_FINDINGS: entry(0, 'A gateway has lied or hides what it settled', 'pay it no more'),
  GATEWAY_ALARM: entry(0, 'The gateway needs its operator', 'see what the message names'),
  AUDIT_FINDINGS: entry(0, 'The audit found something', 'keep the batches: they are the evidence'),
  BATCH_BLOCK_MISSING: entry(0, 'A block of a batch is not available', 'ask another holder'),
  BATCH_BLOCK_ALTERED: entry(
    0,
    'A block of a batch is not what its CID says',
    'ask another holder',
  ),
  BATCH_MALFORMED: entry(0, 'A batch does not follow the format', 'keep it: it is evidence'),
  BATCH_INCONSISTENT: entry(500, 'Receipts and batch disagree', 'report it'),
  BATCH_TOO_LARGE: entry(500, 'The batch is too large', 'settle more often'),
  CHAIN_BINARY: entry(0, 'No local chain for this machine', 'set DEFAAS_CHAIN_RPC_URL'),
  ARTIFACT_MANIFEST: entry(400, 'defaas.json is not valid', 'correct the named field'),
  ARTIFACT_ENTRY: entry(400, 'The entry has no handler', 'export default a function'),
  ARTIFACT_IMPORT: entry(400, 'An import cannot be resolved', 'run npm install in the folder'),
  ARTIFACT_BUNDLE: entry(400, 'The handler does not bundle', 'correct the named line'),
  ARTIFACT_NATIVE_ADDON: entry(
    400,
    'Native addons cannot run everywhere',
    'use a pure JavaScript or WASM library',
  ),
  ARTIFACT_SECRET: entry(400, 'A value looks like a key', 'name it in secrets'),
  ARTIFACT_INVALID: entry(
    400,
    'The CAR is not a complete, verified artifact',
    'send the whole artifact',
  ),
  ARTIFACT_TOO_LARGE: entry(413, 'The artifact is too large', 'make it smaller'),
  ARTIFACT_NOT_FOUND: entry(404, 'The artifact cannot be found', 'upload or pin it again'),
  ARTIFACT_CORRUPT: entry(
    500,
    'A block is not what its CID says',
    'restore the block from another copy',
  ),
  NAME_INVALID: entry(400, 'The name is not valid', 'use a-z, 0-9 and -, at most 63'),
  NAME_TAKEN: entry(409, 'The name is taken', 'choose another name'),
  NOT_OWNER: entry(403, 'Only the owner may do this', 'use the owner’s account'),
  PUBLISHER_NOT_ALLOWED: entry(
    403,
    'The publisher may not deploy here',
    'ask the operator or use another gateway',
  ),
  OPERATOR_ONLY: entry(403, 'Only the operator may do this', 'sign in with the gateway’s key'),
  KEY_NOT_IN_FORCE: entry(409, 'The chain does not have the operator key', 'run defaas rotate-key'),
  FUNCTION_UNKNOWN: entry(404, 'No such function or version', 'see defaas list'),
  FUNCTION_DEPRECATED: entry(410, 'The version is deprecated', 'call a newer version'),
  FUNCTION_NOT_DEPLOYED: entry(503, 'The version runs nowhere here', 'run defaas deploy'),
  FUNCTION_FAILED: entry(502, 'The function failed', 'see its logs; the call costs nothing'),
  FUNCTION_TIMEOUT: entry(
    504,
    'The function ran out of time',
    'raise timeoutMs; the call costs nothing',
  ),
  FUNCTION_FAILING: entry(503, 'The function failed too often', 'fix it, then try again later'),
  METERING_DRIFT: entry(
    503,
    'The cloud counts more execution than was billed',
    'use another gateway, or ask the operator',
  ),
  INVOCATION_UNKNOWN: entry(
    409,
    'The outcome of the call is unknown',
    'the call costs nothing; retry if that is safe',
  ),
  IDEMPOTENCY_MISMATCH: entry(
    422,
    'The key was used for another call',
    'use a fresh Idempotency-Key',
  ),
  ANSWER_EXPIRED: entry(
    410,
    'The answer under this key is no longer stored',
    'use a fresh Idempotency-Key',
  ),
  PROVIDERS_DOWN: entry(503, 'No cloud could take the call', 'try again shortly'),
  ROUTING_EXCLUDES_ALL: entry(
    409,
    'The routing leaves no cloud',
    'widen Defaas-Routing, or deploy the version there',
  ),
  PROVIDER_UNKNOWN: entry(400, 'No such cloud', 'use aws, google, azure or local'),
  PROVIDER_INVALID: entry(
    400,
    'The cloud refuses this configuration',
    'change the named value or drop the cloud',
  ),
  PROVIDER_TOO_LARGE: entry(
    413,
    'The package is too large for the cloud',
    'make it smaller or drop the cloud',
  ),
  PROVIDER_UNAUTHENTICATED: entry(
    502,
    'The cloud refuses our credentials',
    'the operator must check them',
  ),
  PROVIDER_FORBIDDEN: entry(502, 'A right is missing in the cloud', 'the operator must add it'),
  PROVIDER_QUOTA: entry(502, 'A quota of the cloud is reached', 'raise it or remove something'),
  PROVIDER_THROTTLED: entry(503, 'The cloud throttles', 'try again later'),
  PROVIDER_UNAVAILABLE: entry(503, 'The cloud is not available', 'try again later'),
  PROVIDER_CONNECTION: entry(503, 'The cloud cannot be reached', 'try again later'),
  PROVIDER_DEADLINE: entry(
    504,
    'The cloud did not finish in time',
    'run the command again; it goes on',
  ),
  PROVIDER_CONFLICT: entry(
    409,
    'The cloud is busy with this resource',
    'run the command again; it goes on',
  ),
  PROVIDER_NOT_FOUND: entry(502, 'The cloud does not know the function', 'deploy it again'),
  PROVIDER_DEPLOY_FAILED: entry(502, 'The cloud could not start the function', 'see the message'),
  PROVIDER_PROTOCOL: entry(502, 'The cloud answered in an unknown form', 'report it'),
  PROVIDER_UNSUPPORTED: entry(501, 'The cloud cannot do this', 'use another cloud'),
  PAYMENT_REQUIRED: entry(
    402,
    'The prepaid money does not cover the call',
    'deposit, extend the lane or sign a higher voucher',
  ),
  PRICE_ABOVE_MAX: entry(
    402,
    'The price could exceed the caller’s maximum',
    'raise Defaas-Max-Price',
  ),
  SPONSOR_EMPTY: entry(
    402,
    'The sponsor pays for no more calls today',
    'sign in and pay yourself, or try again tomorrow',
  ),
  DAILY_LIMIT: entry(
    402,
    'The session key’s daily limit is used up',
    'raise its limit, or wait for the next UTC day',
  ),
  EXPOSURE_REACHED: entry(503, 'Too much is unsettled here', 'try again after the next settlement'),
  VOUCHER_INVALID: entry(400, 'The voucher is not valid', 'sign it again with the lane’s key'),
  VOUCHER_BY_CONTRACT: entry(
    400,
    'A contract wallet’s voucher is not accepted',
    'let the wallet open a lane for a session key, and sign with that key',
  ),
  TOKEN_MISSING: entry(401, 'The call needs a token', 'sign in at /oauth/token'),
  TOKEN_INVALID: entry(401, 'The token is not valid', 'sign in again at /oauth/token'),
  TOKEN_SCOPE: entry(403, 'The token is not for this', 'sign in for what you ask'),
  DPOP_INVALID: entry(401, 'The DPoP proof is not valid', 'send a fresh proof for this request'),
  CALL_MISSING: entry(
    403,
    'The lane takes signed calls only',
    'send the signed Call in Defaas-Call, or use a prepaid lane',
  ),
  CALL_INVALID: entry(
    400,
    'The signed Call is not valid',
    'correct what the message names and sign again',
  ),
  CALL_STALE: entry(
    409,
    'The signed Call names an epoch or version that is not in force',
    'ask GET /epochs/latest and sign again',
  ),
  NONCE_USED: entry(
    409,
    'The nonce was used for a call already',
    'make a fresh nonce, or repeat under an Idempotency-Key',
  ),
  NONCE_MISSING: entry(
    403,
    'A call that its lane pays needs the payer’s own nonce',
    'call by the client library or defaas invoke, or with a token of defaas token',
  ),
  MANDATE_INVALID: entry(400, 'The mandate is not valid', 'correct what the message names'),
  MANDATE_UNKNOWN: entry(404, 'No such mandate', 'check the hash'),
  MANDATE_EMPTY: entry(
    402,
    'The token’s mandate is used up or closed',
    'ask whoever gave it to you for another',
  ),
  SIGN_IN_REFUSED: entry(400, 'The sign-in was refused', 'sign a fresh message'),
  NOT_GRANTED: entry(403, 'The caller has no grant for the function', 'ask its owner'),
  ACCOUNT_ONLY: entry(403, 'Not for service accounts', 'sign in with an account of the chain'),
  CLIENT_UNKNOWN: entry(404, 'No such service account', 'check the id, or register it'),
  LANE_UNKNOWN: entry(404, 'No such lane at this gateway', 'run defaas deposit'),
  RECEIPT_UNKNOWN: entry(404, 'No such receipt', 'check the id'),
  BATCH_UNKNOWN: entry(404, 'No such batch', 'check the number'),
  DEPLOYMENT_UNKNOWN: entry(404, 'No such deployment', 'check the id'),
  SECRET_MISSING: entry(409, 'A secret has no value', 'run defaas secret set'),
  SECRET_INVALID: entry(400, 'The secret cannot be kept', 'send another name or value'),
  SECRET_UNREADABLE: entry(
    500,
    'A secret cannot be opened',
    'restore the key file or set it again',
  ),
  TARIFF_BELOW_COST: entry(
    409,
    'A call would cost more than it earns',
    'raise the tariff or pass --accept-loss',
  ),
  DEPLOYMENTS_ASTRAY: entry(0, 'Clouds and records differ', 'run defaas doctor --fix'),
  TOKEN_KEY_MISMATCH: entry(
    0,
    'The chain names another key for the gateway’s tokens',
    'the operator must register its own',
  ),
  FINALITY_STALLED: entry(
    0,
    'The chain finalises no blocks',
    'wait; calls go on, new deposits do not count yet',
  ),
  PRICES_OLD: entry(0, 'The clouds’ prices are old', 'update adapters/prices.json'),
  NOTHING_TO_SETTLE: entry(409, 'There is nothing to settle', 'call a function first'),
  SETTLEMENT_REFUSED: entry(409, 'The chain settles none of the lanes', 'read what it says'),
  BOND_TOO_LOW: entry(409, 'The gateway’s bond is too low to settle', 'run defaas bond'),
  EVENT_INVALID: entry(400, 'The CloudEvent is not valid', 'correct the named attribute'),
  REQUEST_INVALID: entry(400, 'The request is not valid', 'see the README'),
  ROUTE_UNKNOWN: entry(404, 'There is nothing at this address', 'see the README'),
  METHOD_NOT_ALLOWED: entry(405, 'The method is not for this address', 'use one that Allow names'),
  REQUEST_TIMEOUT: entry(408, 'The request did not come in time', 'send it again, and faster'),
  EXPECTATION_FAILED: entry(417, 'The expectation cannot be met', 'leave Expect out'),
  HEAD_TOO_LARGE: entry(
    431,
    'The head of the request is too large',
    'send fewer or shorter headers',
  ),
  HTTP_UNSUPPORTED: entry(
    501,
    'This part of HTTP is not supported',
    'change what the message names',
  ),
  HTTP_VERSION: entry(505, 'The version of HTTP is not served', 'send HTTP/1.1'),
  BODY_TOO_LARGE: entry(413, 'The body is too large', 'send less'),
  MEDIA_TYPE_UNSUPPORTED: entry(415, 'The media type is not supported', 'see the README'),
  RATE_LIMITED: entry(429, 'Too many calls', 'slow down, see Retry-After'),
  KEY_STOLEN: entry(503, 'The gateway’s key was stolen', 'use another gateway'),
  OVERLOADED: entry(503, 'The gateway is overloaded', 'try again shortly'),
  LEDGER_FAILED: entry(503, 'The ledger cannot be written', 'the operator must check the disk'),
  CHAIN_UNREACHABLE: entry(503, 'The chain cannot be reached', 'check the RPC URL'),
  CHAIN_STALE: entry(503, 'The chain’s head is stale', 'try again shortly'),
  CHAIN_MISMATCH: entry(
    502,
    'Another chain, or other contracts',
    'check the RPC URL and the addresses',
  ),
  CHAIN_GAS: entry(502, 'The account cannot pay gas', 'send it some'),
  CHAIN_PENDING: entry(504, 'The transaction is not included yet', 'wait, then look again'),
  CHAIN_REPLACED: entry(502, 'Another transaction took its place', 'try again'),
  CHAIN_REVERTED: entry(502, 'The chain refused the transaction', 'see the message'),
  INSUFFICIENT_FREE: entry(402, 'Not enough free deposit', 'deposit more'),
  PROOF_INVALID: entry(409, 'The evidence does not hold together', 'check where it is from'),
  NO_FRAUD: entry(409, 'The evidence shows no fraud', 'the gateway was honest here'),
  ALREADY_PROVEN: entry(409, 'The fraud is proven and paid', 'nothing is left to do'),
  NOTHING_TO_SLASH: entry(
    409,
    'Nothing of the bond can be taken now',
    'try again when the message says',
  ),
  WINDOW_CLOSED: entry(409, 'It is too late for that', 'nothing is left to do'),
  DEMAND_KNOWN: entry(409, 'The receipt was demanded before', 'see defaas watch'),
  DEMAND_OPEN: entry(409, 'The gateway may still answer', 'wait until the deadline'),
  NOT_DEMANDED: entry(409, 'There is no such open demand', 'see defaas watch'),
  INTERNAL: entry(500, 'Something went wrong here', 'report it with the instance'),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

export interface DefaasErrorOptions {
  /** Additional members of the problem document, JSON-serialisable (RFC 9457 section 3.2). */
  readonly members?: Readonly<Record<string, unknown>>;
  readonly retryAfterSec?: number;
  /** The methods of the address, for a 405 (RFC 9110 section 15.5.6). */
  readonly allow?: readonly string[];
  readonly cause?: unknown;
}

/**
 * The broker's error type: a code of the catalogue and a one-line message `what, on what, what to
 * do`.
 */
export class DefaasError extends Error {
  override readonly name = 'DefaasError';
  readonly code: ErrorCode;
  readonly status: number;
  readonly members: Readonly<Record<string, unknown>>;
  readonly retryAfterSec: number | undefined;
  readonly allow: readonly string[] | undefined;

  constructor(code: ErrorCode, message: string, options: DefaasErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.status = ERRORS[code].status || 500;
    this.members = options.members ?? {};
    this.retryAfterSec = options.retryAfterSec;
    this.allow = options.allow;
  }
}

/**
 * Converts any error: an error with a code of the catalogue keeps its code, everything else becomes
 * INTERNAL.
 */
export function toDefaasError(error: unknown): DefaasError {
  if (error instanceof DefaasError) return error;
  const code = codeOf(error);
  if (code === undefined) {
    return new DefaasError('INTERNAL', 'the gateway failed on this request, report the instance', {
      cause: error,
    });
  }
  return new DefaasError(code, error instanceof Error ? error.message : code, { cause: error });
}

const CHAIN_AWAY = 'the gateway cannot reach the chain, try again shortly';

/** The problem document of an error (RFC 9457); `instance` names the request in the logs. */
export function problemOf(error: DefaasError, instance: string): Record<string, unknown> {
  return {
    type: `urn:defaas:error:${error.code}`,
    title: ERRORS[error.code].title,
    status: error.status,
    code: error.code,
    // Its message names the operator's RPC, whose host name may hold a key.
    detail: error.code === 'CHAIN_UNREACHABLE' ? CHAIN_AWAY : error.message,
    remedy: ERRORS[error.code].remedy,
    instance: `urn:defaas:request:${instance}`,
    ...error.members,
  };
}

function codeOf(error: unknown): ErrorCode | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  const code = error.code;
  return typeof code === 'string' && Object.hasOwn(ERRORS, code) ? toErrorCode(code) : undefined;
}

function toErrorCode(code: string): ErrorCode {
  // Safe: the only caller has just checked that ERRORS has this key.
  return code as ErrorCode;
}

function entry(status: number, title: string, remedy: string): ErrorEntry {
  return { status, title, remedy };
}
