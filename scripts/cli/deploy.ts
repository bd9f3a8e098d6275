// `defaas deploy <folder or function>`: puts a version on clouds, with its plan and each step
// shown. Of a folder it publishes a version first, and moves `latest` to it only after the version
// answers on its clouds: until then callers are served by the version before.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  deploy as askToDeploy,
  type CloudPlan,
  type DeploymentOutcome,
  type DeployRequest,
  planDeployment,
} from '../../broker/client/deployments.ts';
import type { Session } from '../../broker/client/session.ts';
import { fetchSponsorship } from '../../broker/client/sponsorship.ts';
import type { Chain } from '../../contracts/chain.ts';
import { type Bundle, bundle } from '../../ipfs/bundle.ts';
import { filesToCar, rawCid } from '../../ipfs/car.ts';
import { functionUrl } from './address.ts';
import { awaitBlock } from './await-block.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import { cloudsHad, cloudsOf, parseClouds } from './clouds.ts';
import {
  type Flags,
  note,
  type Opened,
  type Outcome,
  openGateway,
  openSession,
} from './context.ts';
import { formatCost, limitsLine, lossLines, planLine, stepLine } from './deployment-lines.ts';
import { deprecateOpen } from './deprecate-open.ts';
import { type FunctionName, parseFunctionName } from './function-name.ts';
import { userPath } from './house.ts';
import { runSteps, type Step } from './progress.ts';
import { bundleFolder, preparePublishing } from './publish.ts';
import { formatTable } from './table.ts';

export interface DeployOptions {
  readonly to?: string;
  readonly acceptLoss?: boolean;
  /** Publishes the text of the sources in the source map. */
  readonly sources?: boolean;
}

/**
 * A cloud that fails does not undo the others; the command then fails and reports what is live.
 * @throws ArtifactError NOT_A_FUNCTION_FOLDER, ARTIFACT_...; ChainError NAME_TAKEN, CHAIN_...
 * @throws CliError USAGE, PROVIDER_INVALID, PROVIDER_TOO_LARGE, FUNCTION_UNKNOWN, NOT_OWNER,
 *   PUBLISHER_NOT_ALLOWED, SECRET_MISSING
 * @throws TARIFF_BELOW_COST  unless the loss is accepted
 */
export async function deploy(
  flags: Flags,
  target: string,
  options: DeployOptions,
): Promise<Outcome> {
  const chosen = options.to === undefined ? undefined : parseClouds(options.to);
  const folder = folderOf(target);
  if (folder === undefined) parseFunctionName(target, '');
  const bundled = folder === undefined ? undefined : await bundleFolder(flags, folder, options);
  const opened = await openGateway(flags);
  try {
    const { acceptLoss = false, sources = false } = options;
    const asked: Asked = { flags, opened, chosen, acceptLoss, sources };
    return bundled === undefined
      ? await deployPublished(asked, parseFunctionName(target, opened.account.address))
      : await release(asked, bundled);
  } finally {
    opened.close();
  }
}

interface Asked {
  readonly flags: Flags;
  readonly opened: Opened;
  /** Clouds named on the command line. */
  readonly chosen: readonly string[] | undefined;
  readonly acceptLoss: boolean;
  readonly sources: boolean;
}

/** The folder that is meant. `name@version` and names without such a folder mean a function. */
function folderOf(target: string): string | undefined {
  const path = userPath(target);
  const isPath = /^\.{0,2}[\\/]|^\.{1,2}$/.test(target);
  return isPath || existsSync(join(path, 'defaas.json')) ? path : undefined;
}

async function deployPublished(asked: Asked, name: FunctionName): Promise<Outcome> {
  const { flags, opened, chosen } = asked;
  const providers = chosen ?? (await cloudsOf(opened, name));
  const session = await openSession(opened, opened.account);
  const { owner, reference: version } = name;
  const deploying = deployingOf(session, asked.acceptLoss, () => ({
    ...{ owner, name: name.name, version, providers },
  }));
  await tellOtherFolder(asked, name);
  await runSteps(flags, deploying.steps(`${name.name}@${version} on ${providers.join(', ')}`));
  return outcomeOf(name, deploying);
}

/** Publishes the folder, deploys the version, then moves `latest`. */
async function release(asked: Asked, bundled: Bundle): Promise<Outcome> {
  const { flags, opened, chosen } = asked;
  const chain = await openChain(opened);
  try {
    const owner = opened.account.address;
    const { name, providers: declared } = bundled.manifest;
    const session = await openSession(opened, opened.account);
    const before = chain.view.functionOf(owner, name);
    const served = before && chain.view.versionOf(before);
    const providers =
      chosen ??
      (declared.length > 0 ? declared : undefined) ??
      (await cloudsHad(session, { owner, name, version: served?.number })) ??
      opened.connection.document.providers;
    const publishing = await preparePublishing({ flags, opened, chain }, bundled, {
      asLatest: false,
    });
    const reference = () => `${publishing.published().version.number}`;
    const deploying = deployingOf(session, asked.acceptLoss, () => ({
      ...{ owner, name, version: reference(), providers },
    }));
    let isMoved = false;
    await runSteps(flags, [
      ...publishing.steps,
      {
        title: 'waiting for the gateway to see it',
        run: async () => {
          await awaitBlock(opened.connection, publishing.published().version.blockNumber);
        },
      },
      ...deploying.steps(`${name} on ${providers.join(', ')}`),
      {
        title: 'moving latest',
        run: async (report) => {
          const { fn, version } = publishing.published();
          isMoved = fn.latest !== version.number && mayServe(deploying.outcome(), fn.latest);
          if (!isMoved) return report(`latest of ${name} stays ${fn.latest || 'unset'}`);
          const block = await chain
            .connect(opened.account)
            .moveAlias(fn.id, 'latest', version.number);
          await chain.synced(block);
          await awaitBlock(opened.connection, block);
        },
      },
    ]);
    const { fn, version, isNew } = publishing.published();
    const open = isMoved ? await deprecateOpen(flags, opened, chain, fn) : [];
    const outcome = outcomeOf({ owner, name, reference: reference() }, deploying);
    const url = functionUrl(opened.connection, fn);
    const sponsorship = await fetchSponsorship(session, { owner, name });
    const isUnpaid = sponsorship.isSponsored && sponsorship.lane === null;
    const was = served ? `, it was ${served.number}` : '';
    const alias = isMoved
      ? `${name}@${version.number} is latest now${was}`
      : `latest of ${name} is ${fn.latest || 'unset'}`;
    return {
      ...outcome,
      document: {
        ...Object(outcome.document),
        ...{
          isNew,
          latest: fn.latest,
          cid: version.artifactCid,
          files: publishing.files,
          url,
          open,
        },
      },
      text: [
        outcome.text,
        alias,
        url,
        ...(isUnpaid
          ? [
              `nobody is served until the publisher pays: defaas sponsor ${name} --daily 1 --deposit 5`,
            ]
          : []),
      ].join('\n'),
    };
  } finally {
    chain.close();
  }
}

/**
 * A version takes the place of another only when it is live on all its clouds. Where none is served
 * yet, one cloud is enough.
 */
function mayServe({ state, providers }: DeploymentOutcome, latest: number): boolean {
  return state === 'live' || (latest === 0 && providers.some((one) => one.state === 'live'));
}

/** Says that the folder of the function's name is not what is about to be deployed. */
async function tellOtherFolder({ flags, opened, sources }: Asked, of: FunctionName): Promise<void> {
  const folder = folderOf(of.name);
  if (folder === undefined || flags.json) return;
  const chain = await openChain(opened);
  try {
    const version = versionOf(chain, of);
    const { files, manifestBytes } = await bundle(folder, { sources });
    const [{ cid }, manifestCid] = [await filesToCar(files), await rawCid(manifestBytes)];
    if (version?.artifactCid === cid && version.manifestCid === manifestCid) return;
    note(
      flags,
      `${folder} is not what ${of.name}@${version?.number} was published from; defaas deploy ${of.name} publishes the folder`,
    );
  } finally {
    chain.close();
  }
}

function versionOf({ view }: Pick<Chain, 'view'>, { owner, name, reference }: FunctionName) {
  const namespace = view.resolveNamespace(owner);
  const fn = namespace && view.functionOf(namespace, name);
  return fn && view.versionOf(fn, reference);
}

/** The steps of a deployment, and what came of them. */
interface Deploying {
  readonly planned: readonly CloudPlan[];
  steps(what: string): Step[];
  /** To be called after the steps. */
  outcome(): DeploymentOutcome;
}

function deployingOf(
  session: Session,
  acceptLoss: boolean,
  request: () => DeployRequest,
): Deploying {
  const planned: CloudPlan[] = [];
  let ended: DeploymentOutcome | undefined;
  return {
    planned,
    steps: (what) => [
      {
        title: `planning ${what}`,
        run: async (report) => {
          planned.push(...(await planDeployment(session, request())).clouds);
          for (const cloud of planned) report(planLine(cloud));
          if (planned.length > 0) report(limitsLine(planned));
          for (const line of lossLines(planned)) report(line);
        },
      },
      {
        title: `deploying ${what}`,
        run: async (report) => {
          const onStep: DeployRequest['onStep'] = (step) => report(stepLine(step));
          ended = await askToDeploy(session, { ...request(), acceptLoss, onStep });
        },
      },
    ],
    outcome: () => {
      if (!ended) throw new CliError('INTERNAL', 'the deployment ended without an outcome');
      return ended;
    },
  };
}

function outcomeOf(name: FunctionName, { planned, outcome: outcomeIn }: Deploying): Outcome {
  const outcome = outcomeIn();
  const failed = outcome.providers.find((provider) => provider.error)?.error ?? outcome.error;
  const isLive = outcome.state === 'live';
  return {
    document: {
      name: name.name,
      owner: name.owner,
      version: name.reference,
      state: outcome.state,
      providers: outcome.providers,
      plan: planned,
    },
    text: formatTable(
      ['cloud', 'region', 'state', 'cost a call, tokens', ''],
      outcome.providers.map(({ provider, region, state, error }) => {
        const cost = planned.find((cloud) => cloud.provider === provider)?.cost;
        const why = error ? `${error.code}: ${error.message}` : '';
        return [provider, region, state, cost ? formatCost(cost) : '-', why];
      }),
    ),
    ...(!isLive && {
      failure: failed ?? {
        code: 'PROVIDER_DEPLOY_FAILED',
        message: `${name.name} is not live everywhere, run the command again`,
      },
    }),
  };
}
