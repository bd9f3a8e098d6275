// The expected cost of a call to the gateway at each cloud, compared with what its tariff earns.

import { estimate, findMeter, unitsOf } from '../../adapters/prices.ts';
import type { Deployment, ProviderName } from '../../adapters/provider.ts';
import type { FunctionVersion } from '../../contracts/chain/types.ts';
import { priceOf, splitPrice } from '../../contracts/libraries/tariffs.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import type { CallCost as ShownCost, WarmCost } from '../client/deployments.ts';
import type { Config } from '../config.ts';
import { DefaasError } from '../errors.ts';

/**
 * Duration of the estimated call, ms. It is warm, alone in its instance and uses all the memory.
 */
const EXPECTED_CALL_MS = 100;

/** Period for the cost of keeping instances warm, days. */
const WARM_DAYS = 30;

/** What `costDocument` shows, without its verdict. */
export type CallCost = Omit<ShownCost, 'belowCost'>;

/** The expected cost of a call; undefined for the operator's own machine, which sends no bill. */
export function callCost(
  { clouds, warmEverySec }: Pick<Config, 'clouds' | 'warmEverySec'>,
  provider: ProviderName,
  { version, minWarm = 0 }: { readonly version: FunctionVersion; readonly minWarm?: number },
): CallCost | undefined {
  const meter = findMeter(provider, planOf(clouds, provider));
  if (meter === undefined) return undefined;
  const { memoryMiB, tariff } = version;
  const durationMs = expectedMs(version);
  const costPico = estimate(meter, { durationMs, memoryMiB });
  const priceUnits = priceOf({ billedMs: durationMs, memoryMiB, status: 200 }, version);
  const { publisher } = splitPrice(priceUnits, 0, tariff.publisherBps);
  return {
    plan: meter.plan,
    asOf: meter.asOf,
    durationMs,
    costPico,
    costUnits: unitsOf(costPico),
    priceUnits,
    earnedUnits: priceUnits - publisher,
    ...(minWarm > 0 && { warm: warmCost(costPico, minWarm, warmEverySec) }),
  };
}

/**
 * Upper bound: each instance is called once per round with a call shorter than the estimated one,
 * including rounds that real traffic makes unnecessary.
 */
function warmCost(callPico: bigint, instances: number, everySec: number): WarmCost {
  const rounds = Math.ceil((WARM_DAYS * 86_400) / everySec);
  const costPico = callPico * BigInt(instances * rounds);
  return { instances, everySec, days: WARM_DAYS, costPico, costUnits: unitsOf(costPico) };
}

/** What a cloud is expected to bill for a call, 1e-12 USD; 0 if nothing is billed. */
export function expectedCostPico(
  clouds: Config['clouds'],
  deployment: Pick<Deployment, 'provider' | 'memoryMiB' | 'timeoutMs'>,
): bigint {
  const { provider, memoryMiB } = deployment;
  const meter = findMeter(provider, planOf(clouds, provider));
  return meter ? estimate(meter, { durationMs: expectedMs(deployment), memoryMiB }) : 0n;
}

export function isLoss({ earnedUnits, costUnits }: CallCost): boolean {
  return earnedUnits < costUnits;
}

/** The cost as JSON, money as decimal strings. */
export function costDocument({ warm, ...cost }: CallCost) {
  return {
    ...cost,
    costPico: `${cost.costPico}`,
    costUnits: `${cost.costUnits}`,
    priceUnits: `${cost.priceUnits}`,
    earnedUnits: `${cost.earnedUnits}`,
    belowCost: isLoss(cost),
    ...(warm && {
      warm: { ...warm, costPico: `${warm.costPico}`, costUnits: `${warm.costUnits}` },
    }),
  };
}

/**
 * @throws DefaasError TARIFF_BELOW_COST  a cloud bills more than the call earns; member `clouds` of
 *   the problem has the figures
 */
export function refuseLoss(
  clouds: readonly { readonly provider: ProviderName; readonly cost?: CallCost | undefined }[],
): void {
  const losses = clouds.flatMap(({ provider, cost }) =>
    cost !== undefined && isLoss(cost) ? [{ provider, cost }] : [],
  );
  const [first] = losses;
  if (first === undefined) return;
  const { priceUnits, earnedUnits, costUnits, plan } = first.cost;
  const share = priceUnits - earnedUnits;
  const price =
    share === 0n
      ? `${formatTokens(priceUnits)} tokens`
      : `${formatTokens(priceUnits)} tokens, ${formatTokens(share)} of them the publisher's`;
  const names = losses.map(({ provider }) => provider).join(', ');
  throw new DefaasError(
    'TARIFF_BELOW_COST',
    `price ${price}, estimate ${formatTokens(costUnits)} tokens (${plan}), on ${names}, raise the tariff or pass --accept-loss`,
    {
      members: {
        clouds: losses.map(({ provider, cost }) => ({ provider, ...costDocument(cost) })),
      },
    },
  );
}

function expectedMs({ timeoutMs }: { readonly timeoutMs: number }): number {
  return Math.min(EXPECTED_CALL_MS, timeoutMs);
}

/** The configured plan, for clouds that have several. */
function planOf(clouds: Config['clouds'], provider: ProviderName): string | undefined {
  if (provider === 'azure-functions') return clouds['azure-functions']?.planKind;
  return undefined;
}
