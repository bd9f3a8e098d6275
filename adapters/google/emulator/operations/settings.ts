// What the Google emulator does with each setting of `google.cloud.functions.v2.Function`.

import {
  each,
  ignored,
  output,
  refused,
  type Settings,
  supported,
} from '../../../emulators/settings.ts';
import { SIGNATURE_VARIABLE } from '../model/revision.ts';

const NO_BUILD = 'nothing is built here: the zip is unpacked';
const NO_SECRETS = 'there is no Secret Manager: use environmentVariables';
const NO_NETWORK = 'the function has the network of this machine';

export const RUNTIMES = ['nodejs20', 'nodejs22', 'nodejs24'];
const BUILD_VARIABLES = 'buildConfig.environmentVariables';

export const FUNCTION_SETTINGS: Settings = {
  ...each('', 'name state stateMessages createTime updateTime url satisfiesPzs', output()),
  description: supported(),
  labels: supported(),
  environment: supported('', ['GEN_2']),
  kmsKeyName: ignored('nothing is encrypted here'),

  'buildConfig.build': output(),
  'buildConfig.sourceProvenance': output(),
  'buildConfig.runtime': supported('each runs on this Node', RUNTIMES),
  'buildConfig.entryPoint': supported(),
  'buildConfig.source.storageSource.bucket': supported(),
  'buildConfig.source.storageSource.object': supported('one that generateUploadUrl gave out'),
  'buildConfig.source.storageSource.generation': refused('an uploaded object has only one'),
  'buildConfig.source.storageSource.sourceUploadUrl': refused('name bucket and object'),
  'buildConfig.source.repoSource': refused('there are no repositories: upload a zip'),
  'buildConfig.source.gitUri': refused('there are no repositories: upload a zip'),
  [BUILD_VARIABLES]: ignored(NO_BUILD),
  [`${BUILD_VARIABLES}.${SIGNATURE_VARIABLE}`]: supported('http, event, cloudevent'),
  ...each(
    'buildConfig.',
    'workerPool dockerRegistry dockerRepository serviceAccount automaticUpdatePolicy onDeployUpdatePolicy',
    ignored(NO_BUILD),
  ),

  ...each('serviceConfig.', 'service uri revision', output()),
  'serviceConfig.timeoutSeconds': supported('1 to 3600'),
  'serviceConfig.availableMemory': supported('128Mi to 32Gi'),
  'serviceConfig.availableCpu': ignored('a process has all CPUs of this machine'),
  'serviceConfig.environmentVariables': supported('without the names that the cloud sets'),
  'serviceConfig.maxInstanceCount': supported('1 to 3000'),
  'serviceConfig.minInstanceCount': ignored('an idle instance ends'),
  'serviceConfig.maxInstanceRequestConcurrency': supported('1 to 1000'),
  'serviceConfig.vpcConnector': ignored(NO_NETWORK),
  'serviceConfig.vpcConnectorEgressSettings': ignored(NO_NETWORK),
  'serviceConfig.ingressSettings': ignored('every caller is on this machine', ['ALLOW_ALL']),
  'serviceConfig.serviceAccountEmail': ignored('the metadata server has one account'),
  'serviceConfig.allTrafficOnLatestRevision': supported('traffic is not split', [true]),
  'serviceConfig.secretEnvironmentVariables': refused(NO_SECRETS),
  'serviceConfig.secretVolumes': refused(NO_SECRETS),
  'serviceConfig.securityLevel': ignored('functions are at http on 127.0.0.1'),
  'serviceConfig.binaryAuthorizationPolicy': ignored('there are no images'),

  'eventTrigger.trigger': output(),
  'eventTrigger.triggerRegion': supported(),
  'eventTrigger.eventType': supported(
    'makes the signature cloudevent. Whoever sends events posts them to the URL',
  ),
  'eventTrigger.eventFilters': supported('kept and shown: the sender chooses the events'),
  'eventTrigger.pubsubTopic': supported('kept and shown: there is no Pub/Sub'),
  'eventTrigger.serviceAccountEmail': ignored('the sender’s token decides'),
  'eventTrigger.retryPolicy': ignored('the sender decides on retries', [
    'RETRY_POLICY_DO_NOT_RETRY',
  ]),
  'eventTrigger.channel': refused('there is no Eventarc'),
  'eventTrigger.service': ignored('eventType decides'),
};

/**
 * The names of enumerations by number: the official client sends numbers. The first name of each
 * means that it is not set.
 */
export const ENUMS: Readonly<Record<string, readonly string[]>> = {
  environment: ['ENVIRONMENT_UNSPECIFIED', 'GEN_1', 'GEN_2'],
  'buildConfig.dockerRegistry': [
    'DOCKER_REGISTRY_UNSPECIFIED',
    'CONTAINER_REGISTRY',
    'ARTIFACT_REGISTRY',
  ],
  'serviceConfig.vpcConnectorEgressSettings': [
    'VPC_CONNECTOR_EGRESS_SETTINGS_UNSPECIFIED',
    'PRIVATE_RANGES_ONLY',
    'ALL_TRAFFIC',
  ],
  'serviceConfig.ingressSettings': [
    'INGRESS_SETTINGS_UNSPECIFIED',
    'ALLOW_ALL',
    'ALLOW_INTERNAL_ONLY',
    'ALLOW_INTERNAL_AND_GCLB',
  ],
  'serviceConfig.securityLevel': ['SECURITY_LEVEL_UNSPECIFIED', 'SECURE_ALWAYS', 'SECURE_OPTIONAL'],
  'eventTrigger.retryPolicy': [
    'RETRY_POLICY_UNSPECIFIED',
    'RETRY_POLICY_DO_NOT_RETRY',
    'RETRY_POLICY_RETRY',
  ],
};
