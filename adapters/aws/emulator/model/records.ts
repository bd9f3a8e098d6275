// What the Lambda emulator keeps of a function, in the spelling of the API, and how its state
// goes on.

import { randomUUID } from 'node:crypto';

/** The configuration of a version as the API shows it: all fields that apply to a zip function. */
export interface Configuration {
  FunctionName: string;
  FunctionArn: string;
  Runtime: string;
  Role: string;
  Handler: string;
  CodeSize: number;
  Description: string;
  Timeout: number;
  MemorySize: number;
  LastModified: string;
  CodeSha256: string;
  Version: string;
  VpcConfig?: { SubnetIds: string[]; SecurityGroupIds: string[]; VpcId: string };
  Environment?: { Variables: Record<string, string> };
  TracingConfig: { Mode: string };
  RevisionId: string;
  Layers?: { Arn: string; CodeSize: number }[];
  State: 'Pending' | 'Active' | 'Failed';
  StateReason?: string;
  StateReasonCode?: string;
  LastUpdateStatus?: 'InProgress' | 'Successful' | 'Failed';
  LastUpdateStatusReason?: string;
  LastUpdateStatusReasonCode?: string;
  PackageType: 'Zip';
  Architectures: string[];
  EphemeralStorage: { Size: number };
  SnapStart: { ApplyOn: string; OptimizationStatus: string };
  RuntimeVersionConfig: { RuntimeVersionArn: string };
  LoggingConfig: LoggingConfig;
  KMSKeyArn?: string;
}

export interface LoggingConfig {
  LogFormat: string;
  /** With the format JSON only. */
  ApplicationLogLevel?: string;
  SystemLogLevel?: string;
  LogGroup: string;
}

export interface Alias {
  AliasArn: string;
  Name: string;
  FunctionVersion: string;
  Description: string;
  RoutingConfig?: { AdditionalVersionWeights: Record<string, number> };
  RevisionId: string;
}

export interface LambdaFunction {
  readonly name: string;
  latest: Configuration;
  /** Published versions, oldest first. Only their state changes. */
  versions: Configuration[];
  nextVersion: number;
  /** `RevisionId` of `$LATEST` when it was last published. Unchanged, it is not published again. */
  publishedRevision?: string;
  aliases: Alias[];
  tags: Record<string, string>;
  reservedConcurrency?: number;
  recursiveLoop?: string;
  /** By qualifier. Calls without a qualifier have `$LATEST`. */
  eventInvoke?: Record<string, EventInvokeConfig>;
  /** By qualifier, like `eventInvoke`. */
  urls?: Record<string, FunctionUrlConfig>;
  /** The resource policy of the function (`$LATEST`), of a version or of an alias. */
  policies?: Record<string, Statement[]>;
}

export interface EventInvokeConfig {
  /** Unix time, seconds. */
  LastModified: number;
  FunctionArn: string;
  MaximumRetryAttempts?: number;
  MaximumEventAgeInSeconds?: number;
  DestinationConfig: { OnSuccess: Destination; OnFailure: Destination };
}

export interface Destination {
  Destination?: string;
}

export interface FunctionUrlConfig {
  FunctionArn: string;
  AuthType: 'NONE' | 'AWS_IAM';
  CreationTime: string;
  LastModifiedTime: string;
  InvokeMode: 'BUFFERED' | 'RESPONSE_STREAM';
}

/** A statement of a resource policy, as GetPolicy shows it. */
export interface Statement {
  readonly Sid: string;
  readonly Effect: 'Allow';
  readonly Principal: string | Readonly<Record<string, string>>;
  readonly Action: string;
  readonly Resource: string;
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** Whether the API would refuse another update. */
export function isSettling({ latest, versions }: LambdaFunction): boolean {
  return [latest, ...versions].some(
    ({ State, LastUpdateStatus }) => State === 'Pending' || LastUpdateStatus === 'InProgress',
  );
}

/** Marks a configuration as being created or updated. */
export function markSettling(configuration: Configuration, what: 'create' | 'update'): void {
  const reason = 'The function is being created.';
  if (what === 'create') {
    configuration.State = 'Pending';
    configuration.StateReason = reason;
    configuration.StateReasonCode = 'Creating';
    return;
  }
  configuration.LastUpdateStatus = 'InProgress';
  configuration.LastUpdateStatusReason = reason;
  configuration.LastUpdateStatusReasonCode = 'Creating';
}

export function touch(configuration: Configuration, nowMs: number): void {
  configuration.RevisionId = randomUUID();
  configuration.LastModified = new Date(nowMs).toISOString().replace('Z', '+0000');
}

/**
 * A new RevisionId for `$LATEST`, after a change that is not one of its code or its settings: it
 * counts as published as before.
 */
export function renewRevision(of: LambdaFunction): void {
  const isPublished = of.publishedRevision === of.latest.RevisionId;
  of.latest.RevisionId = randomUUID();
  if (isPublished) of.publishedRevision = of.latest.RevisionId;
}

/** Makes ready what is pending or updating. That of `$LATEST` gets a new RevisionId, as at AWS. */
export function makeReady(of: LambdaFunction): void {
  if (makeConfigurationReady(of.latest)) renewRevision(of);
  for (const each of of.versions) makeConfigurationReady(each);
}

/** @returns whether it has changed */
function makeConfigurationReady(configuration: Configuration): boolean {
  if (configuration.State === 'Failed' || configuration.LastUpdateStatus === 'Failed') return false;
  const wasReady =
    configuration.State === 'Active' && configuration.LastUpdateStatus === 'Successful';
  configuration.State = 'Active';
  configuration.LastUpdateStatus = 'Successful';
  delete configuration.StateReason;
  delete configuration.StateReasonCode;
  delete configuration.LastUpdateStatusReason;
  delete configuration.LastUpdateStatusReasonCode;
  return !wasReady;
}
