// `defaas token`: an access token for scripts and curl, with its own lane and mandate. Both bound
// what it can cost, whoever holds it.
import { createKeySigner } from '../../broker/client/key.ts';
import { ANY_FUNCTION, TOKEN_KIND, tokenSubject } from '../../broker/client/mandates.ts';
import type { LaneName, Token } from '../../broker/client/sign-in.ts';
import { signIn } from '../../broker/client/sign-in.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { readLaneKey } from './account.ts';
import { awaitBlock } from './await-block.ts';
import { openChain, openReader } from './chain.ts';
import { CliError } from './cli-error.ts';
import { type Flags, note, type Opened, type Outcome, openGateway } from './context.ts';
import { formatFunctionName, parseFunctionName } from './function-name.ts';
import { openOwnLane, refuseZero, signOwnMandate } from './own-lane.ts';
import { parseService, type ServiceOptions, service } from './service.ts';
import { parseTokens } from './units.ts';

/** Default of `--allow`: the most that a token may cost in total, whole tokens. */
const DEFAULT_ALLOWANCE = '0.1';
const PURPOSE = 'token';

export interface TokenOptions extends ServiceOptions {
  /**
   * Name of a service account to set up instead: a program that gets its own tokens with its key.
   */
  readonly service?: string;
  /** A token of the account for the control routes; it can spend nothing. */
  readonly control?: boolean;
  /** The most that calls with the token may cost, whole tokens. */
  readonly allow?: string;
  /** The only function that it may call. */
  readonly function?: string;
}

/**
 * Prints a new bearer token. Whoever holds it may spend what is allowed until it ends, at most 10
 * minutes. Stdout has the token alone, for `curl -H "Authorization: Bearer $(defaas token)"`.
 * @throws CliError LANE_UNKNOWN  nothing was deposited: only `--control` needs no money
 */
export async function token(flags: Flags, options: TokenOptions): Promise<Outcome> {
  if (options.control && options.allow !== undefined) {
    throw new CliError('USAGE', 'a --control token spends nothing, leave --allow out');
  }
  if (options.control && options.function !== undefined) {
    throw new CliError('USAGE', 'a --control token calls no function, leave --function out');
  }
  if (options.service !== undefined) return await serviceAccount(flags, options.service, options);
  if (options.daily ?? options.days ?? options.renew ?? options.stop) {
    throw new CliError('USAGE', '--daily, --days, --renew and --stop come with --service');
  }
  const allowedUnits = parseTokens(options.allow ?? DEFAULT_ALLOWANCE, '--allow');
  refuseZero(allowedUnits, '--allow');
  const opened = await openGateway(flags);
  try {
    if (options.control) {
      const key = await createKeySigner(opened.account.privateKey);
      return outcomeOf(flags, opened, await signIn(opened.connection, key), undefined);
    }
    return await spendingToken(flags, opened, { allowedUnits, functionName: options.function });
  } finally {
    opened.close();
  }
}

async function serviceAccount(flags: Flags, id: string, options: TokenOptions): Promise<Outcome> {
  if (options.allow !== undefined || options.control) {
    throw new CliError(
      'USAGE',
      '--service takes --daily and --days, leave --allow and --control out',
    );
  }
  const change = parseService(id, options);
  const opened = await openGateway(flags);
  try {
    const functionId = await functionIn(opened, options.function);
    const chain = await openChain(opened);
    try {
      return await service(flags, opened, chain, { ...change, functionId });
    } finally {
      chain.close();
    }
  } finally {
    opened.close();
  }
}

async function spendingToken(
  flags: Flags,
  opened: Opened,
  of: { readonly allowedUnits: bigint; readonly functionName: string | undefined },
): Promise<Outcome> {
  const { allowedUnits, functionName } = of;
  const functionId = await functionIn(opened, functionName);
  const chain = await openChain(opened);
  try {
    const { lane } = await openOwnLane(flags, opened, chain, {
      purpose: `${PURPOSE}:${crypto.randomUUID()}`,
      capUnits: allowedUnits,
      depositUnits: 0n,
      remedy: 'run defaas deposit or ask for a --control token',
    });
    await awaitBlock(opened.connection, chain.view.head.number);
    const key = await createKeySigner(readLaneKey(opened.house.home, lane.signer).privateKey);
    const made = await signIn(opened.connection, key, lane);
    const { hash } = await signOwnMandate(opened, chain, lane, {
      kind: TOKEN_KIND,
      subject: tokenSubject(idOf(made)),
      functionId,
      maxPrice: allowedUnits,
      perDay: allowedUnits,
      total: allowedUnits,
      untilSec: Math.ceil(made.expiresAtMs / 1000),
      serial: BigInt(Date.now()),
    });
    return outcomeOf(flags, opened, made, { lane, allowedUnits, mandate: hash });
  } finally {
    chain.close();
  }
}

/** @throws CliError FUNCTION_UNKNOWN */
async function functionIn(opened: Opened, target: string | undefined): Promise<bigint> {
  if (target === undefined) return ANY_FUNCTION;
  const name = formatFunctionName(parseFunctionName(target, opened.account.address));
  const reader = openReader(opened);
  try {
    const functionId = await reader.functionOf(await reader.functionVersion(name));
    if (functionId !== undefined) return functionId;
  } finally {
    reader.close();
  }
  throw new CliError('FUNCTION_UNKNOWN', `no function ${name} on this chain, see defaas list`);
}

/** The token's own id (RFC 7519 section 4.1.7), by which its mandate names it. */
function idOf({ accessToken }: Token): string {
  const claims = JSON.parse(Buffer.from(accessToken.split('.')[1] ?? '', 'base64url').toString());
  return String(claims.jti);
}

function outcomeOf(
  flags: Flags,
  { connection }: Opened,
  { accessToken, expiresAtMs }: Token,
  spends:
    | { readonly lane: LaneName; readonly allowedUnits: bigint; readonly mandate: string }
    | undefined,
): Outcome {
  const expiresAt = new Date(expiresAtMs).toISOString();
  const what = spends
    ? `may cost ${formatTokens(spends.allowedUnits)} tokens in all, whoever holds it`
    : 'is for the control routes';
  note(flags, `until ${expiresAt} · ${what}`);
  return {
    document: {
      accessToken,
      tokenType: 'Bearer',
      expiresAt,
      gateway: connection.origin,
      lane: spends?.lane ?? null,
      ...(spends && { allowedUnits: spends.allowedUnits, mandate: spends.mandate }),
    },
    text: accessToken,
  };
}
