// The one list of clouds: a provider's name, and what makes it from its settings.
import { type AwsLambdaOptions, createAwsLambda } from './aws-lambda.ts';
import { type AzureFunctionsOptions, createAzureFunctions } from './azure-functions.ts';
import {
  createGoogleCloudFunctions,
  type GoogleCloudFunctionsOptions,
} from './google-cloud-functions.ts';
import type { Provider } from './provider.ts';

/** What an operator configures of each cloud; without `gateway`, which is the same for all. */
export interface ProviderSettings {
  readonly 'aws-lambda': Omit<AwsLambdaOptions, 'gateway'>;
  readonly 'google-cloud-functions': Omit<GoogleCloudFunctionsOptions, 'gateway'>;
  readonly 'azure-functions': Omit<AzureFunctionsOptions, 'gateway'>;
}

type Factories = {
  readonly [Name in keyof ProviderSettings]: (
    settings: ProviderSettings[Name] & { readonly gateway: string },
  ) => Provider;
};

const FACTORIES: Factories = {
  'aws-lambda': createAwsLambda,
  'google-cloud-functions': createGoogleCloudFunctions,
  'azure-functions': createAzureFunctions,
};

/** The configured clouds of one gateway; `gateway` is its id in tags and labels. */
export function createProviders(
  settings: Partial<ProviderSettings>,
  gateway: string,
): ReadonlyMap<keyof ProviderSettings, Provider> {
  const providers = new Map<keyof ProviderSettings, Provider>();
  const add = <Name extends keyof ProviderSettings>(
    name: Name,
    own: ProviderSettings[Name] | undefined,
  ): void => {
    if (own !== undefined) providers.set(name, FACTORIES[name]({ ...own, gateway }));
  };
  add('aws-lambda', settings['aws-lambda']);
  add('google-cloud-functions', settings['google-cloud-functions']);
  add('azure-functions', settings['azure-functions']);
  return providers;
}
