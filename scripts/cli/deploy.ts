// `defaas deploy <function>`: the gateway puts a version on clouds, and says each step.
import { fetchBlock } from '../../broker/client/artifacts.ts';
import {
  deploy as askToDeploy,
  type DeploymentOutcome,
  type ProviderOutcome,
} from '../../broker/client/deployments.ts';
import { rawCid } from '../../ipfs/car.ts';
import { parseManifest } from '../../ipfs/manifest.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import { type Flags, type Opened, type Outcome, openGateway, openSession } from './context.ts';
import { type FunctionName, parseFunctionName } from './function-name.ts';
import { runSteps } from './progress.ts';
import { formatTable } from './table.ts';

/** Short names that the command line takes. */
const CLOUDS: Readonly<Record<string, string>> = {
  aws: 'aws-lambda',
  google: 'google-cloud-functions',
  azure: 'azure-functions',
  local: 'local',
};

/** A cloud that fails does not undo the others; the command then fails and says what is live. @throws PROVIDER_UNKNOWN, FUNCTION_UNKNOWN, NOT_OWNER, PUBLISHER_NOT_ALLOWED */
export async function deploy(
  flags: Flags,
  target: string,
  options: { readonly to?: string },
): Promise<Outcome> {
  const chosen = options.to === undefined ? undefined : parseClouds(options.to);
  const opened = await openGateway(flags);
  try {
    const name = parseFunctionName(target, opened.account.address);
    const providers = chosen ?? (await providersOf(opened, name));
    const session = await openSession(opened, opened.account);
    const ended: DeploymentOutcome[] = [];
    await runSteps(flags, [
      {
        title: `deploying ${name.name}@${name.reference} on ${providers.join(', ')}`,
        run: async (report) => {
          const { owner, reference: version } = name;
          const onStep = (step: {
            provider: string;
            action: string;
            resource: string;
            state: string;
          }) => report(`${step.provider}: ${step.action} ${step.resource} ${step.state}`);
          ended.push(
            await askToDeploy(session, { owner, name: name.name, version, providers, onStep }),
          );
        },
      },
    ]);
    const [outcome] = ended;
    if (!outcome) throw new Error('the deployment ended without an outcome');
    return outcomeOf(name, outcome);
  } finally {
    opened.close();
  }
}

function outcomeOf(name: FunctionName, outcome: DeploymentOutcome): Outcome {
  const failed = outcome.providers.find((provider) => provider.error)?.error ?? outcome.error;
  const isLive = outcome.state === 'live';
  return {
    document: {
      name: name.name,
      owner: name.owner,
      version: name.reference,
      state: outcome.state,
      providers: outcome.providers,
    },
    text: formatTable(['cloud', 'region', 'state', ''], outcome.providers.map(row)),
    ...(!isLive && {
      failure: failed ?? {
        code: 'PROVIDER_DEPLOY_FAILED',
        message: `${name.name} is not live everywhere, run the command again`,
      },
    }),
  };
}

function row({ provider, region, state, error }: ProviderOutcome): string[] {
  return [provider, region, state, error ? `${error.code}: ${error.message}` : ''];
}

function parseClouds(text: string): string[] {
  const providers = text.split(',').map((word) => {
    const known = CLOUDS[word.trim()] ?? word.trim();
    if (Object.values(CLOUDS).includes(known)) return known;
    throw new CliError(
      'PROVIDER_UNKNOWN',
      `no cloud "${word.trim()}", on --to ${text}, use ${Object.keys(CLOUDS).join(', ')}`,
    );
  });
  return [...new Set(providers)];
}

/** Those that the version's manifest names; the manifest is checked against the CID that the chain has. */
async function providersOf(
  opened: Opened,
  { owner, name, reference }: FunctionName,
): Promise<readonly string[]> {
  const chain = await openChain(opened);
  try {
    const namespace = chain.view.resolveNamespace(owner);
    const fn = namespace && chain.view.functionOf(namespace, name);
    const number = /^\d+$/.test(reference) ? Number(reference) : reference;
    const version = fn && chain.view.versionOf(fn, number);
    if (!version) {
      throw new CliError(
        'FUNCTION_UNKNOWN',
        `no function ${owner}/${name}@${reference}, on the chain, see defaas list`,
      );
    }
    const bytes = await fetchBlock(opened.connection, version.manifestCid);
    if ((await rawCid(bytes)) !== version.manifestCid) {
      throw new CliError(
        'ARTIFACT_CORRUPT',
        `the gateway's manifest is not ${version.manifestCid}, register it again`,
      );
    }
    return parseManifest(bytes).providers;
  } finally {
    chain.close();
  }
}
