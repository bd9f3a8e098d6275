// The list of all clouds: the name of each provider and its factory.
import { type AwsLambdaOptions, createAwsLambda } from './aws/provider.ts';
import { type AzureFunctionsOptions, createAzureFunctions } from './azure/provider.ts';
import { createGoogleCloudFunctions, type GoogleCloudFunctionsOptions } from './google/provider.ts';
import { createLocal, type LocalOptions } from './local/provider.ts';
import type { Provider } from './provider.ts';

/** The operator's settings of each cloud, without `gateway`, which all share. */
export interface ProviderSettings {
  readonly 'aws-lambda': Omit<AwsLambdaOptions, 'gateway'>;
  readonly 'google-cloud-functions': Omit<GoogleCloudFunctionsOptions, 'gateway'>;
  readonly 'azure-functions': Omit<AzureFunctionsOptions, 'gateway'>;
  readonly local: Omit<LocalOptions, 'gateway'>;
}

/** Gets messages of adapters for the operator. */
type Log = (message: string, fields: Readonly<Record<string, unknown>>) => void;

type Factories = {
  readonly [Name in keyof ProviderSettings]: (
    settings: ProviderSettings[Name] & { readonly gateway: string; readonly log?: Log },
  ) => Provider;
};

const FACTORIES: Factories = {
  'aws-lambda': createAwsLambda,
  'google-cloud-functions': createGoogleCloudFunctions,
  'azure-functions': createAzureFunctions,
  local: createLocal,
};

/** The configured clouds of one gateway. `gateway` is its id in tags and labels. */
export function createProviders(
  settings: Partial<ProviderSettings>,
  gateway: string,
  log?: Log,
): ReadonlyMap<keyof ProviderSettings, Provider> {
  const providers = new Map<keyof ProviderSettings, Provider>();
  const add = <Name extends keyof ProviderSettings>(
    name: Name,
    own: ProviderSettings[Name] | undefined,
  ): void => {
    if (own === undefined) return;
    providers.set(name, FACTORIES[name]({ ...own, gateway, ...(log && { log }) }));
  };
  add('aws-lambda', settings['aws-lambda']);
  add('google-cloud-functions', settings['google-cloud-functions']);
  add('azure-functions', settings['azure-functions']);
  add('local', settings.local);
  return providers;
}
