// Parses `defaas.json`, a publisher's description of a function, for the bundler and for gateways,
// which get it from strangers.
import { Ajv, type ErrorObject } from 'ajv';
import { ArtifactError } from './artifact-error.ts';
import schema from './defaas.schema.json' with { type: 'json' };

/** A manifest with all defaults filled in; the fields are those of `defaas.schema.json`. */
export interface Manifest {
  readonly name: string;
  /** Relative path of the handler's module; `handler.mjs` in an artifact. */
  readonly entry: string;
  readonly runtime: 'nodejs22';
  readonly memoryMiB: number;
  readonly timeoutMs: number;
  readonly env: Readonly<Record<string, string>>;
  readonly secrets: readonly string[];
  readonly tariff: ManifestTariff;
  readonly access: 'public' | 'granted' | 'policy';
  readonly payer: 'caller' | 'publisher';
  readonly idempotent: boolean;
  readonly deterministic: boolean;
  readonly providers: readonly (
    | 'aws-lambda'
    | 'google-cloud-functions'
    | 'azure-functions'
    | 'local'
  )[];
  readonly routing?: ManifestRouting;
  /** Instances of each deployment that are kept warm. */
  readonly minWarm?: number;
  readonly cors?: Cors;
  readonly triggers: readonly [];
  readonly files: readonly string[];
}

/** The chain's tariff; prices in base units of the billing token. */
export interface ManifestTariff {
  readonly perCall: bigint;
  readonly perGiBSecond: bigint;
  readonly maxPrice: bigint;
  readonly minBilledMs: number;
  readonly roundMs: number;
  readonly publisherBps: number;
}

/** How a call's cloud is chosen among the drawn candidates. */
export interface ManifestRouting {
  readonly strategy: 'balanced' | 'cheapest' | 'fastest';
  readonly excludedRegions: readonly string[];
  readonly hedge: boolean;
}

export interface Cors {
  readonly origins: readonly string[];
  readonly methods: readonly string[];
  readonly headers: readonly string[];
  readonly maxAgeSec: number;
}

/** The form that the schema accepts: prices as written. */
interface WrittenManifest extends Omit<Manifest, 'tariff'> {
  readonly $schema?: string;
  readonly tariff: Omit<ManifestTariff, 'perCall' | 'perGiBSecond' | 'maxPrice'> &
    Readonly<Record<'perCall' | 'perGiBSecond' | 'maxPrice', number | string>>;
}

const FILE = 'defaas.json';

/** Largest defaas.json, bytes. */
const MAX_MANIFEST_BYTES = 65_536;

/** Most bytes of `env`, names and values (Lambda quotas: 4 KB). */
const MAX_ENV_BYTES = 4096;

const validate = new Ajv({ useDefaults: true, verbose: true }).compile<WrittenManifest>(schema);

/**
 * Checks a `defaas.json` (UTF-8) and fills in its defaults.
 * @throws ArtifactError ARTIFACT_MANIFEST  with the line of the field
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  if (bytes.length > MAX_MANIFEST_BYTES) throw refuse(`is above ${MAX_MANIFEST_BYTES} bytes`, 1);
  const text = new TextDecoder().decode(bytes);
  const written = parseJson(text);
  if (!validate(written)) throw refuse(...describe(validate.errors?.[0], text));

  const { $schema, tariff, cors, ...rest } = written;
  const manifest: Manifest = {
    ...rest,
    tariff: {
      ...tariff,
      perCall: BigInt(tariff.perCall),
      perGiBSecond: BigInt(tariff.perGiBSecond),
      maxPrice: BigInt(tariff.maxPrice),
    },
    ...(cors && { cors }),
  };
  checkTogether(manifest, text);
  return manifest;
}

/**
 * Canonical form of a manifest: fields in the schema's order, variables sorted, prices as decimal
 * strings.
 */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const sorted = (record: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
  const ordered = { ...manifest, env: sorted(manifest.env) };
  const text = JSON.stringify(inOrder(ordered, schema.properties), toJson, 2);
  return new TextEncoder().encode(`${text}\n`);

  function toJson(this: unknown, key: string, value: unknown): unknown {
    if (typeof value === 'bigint') return value.toString();
    if (key === 'tariff') return inOrder(value, schema.properties.tariff.properties);
    if (key === 'routing') return inOrder(value, schema.properties.routing.properties);
    if (key === 'cors') return inOrder(value, schema.properties.cors.properties);
    return value;
  }
}

function inOrder(value: unknown, properties: object): Record<string, unknown> {
  const fields = new Map(Object.entries(value ?? {}));
  const names = Object.keys(properties).filter((name) => fields.has(name));
  return Object.fromEntries(names.map((name) => [name, fields.get(name)]));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const line = /line (\d+)/.exec(reason)?.[1];
    throw refuse(`is not JSON (${reason.slice(0, 120)})`, Number(line ?? 1), cause);
  }
}

/** Rules that the schema cannot express, between several fields. */
function checkTogether(manifest: Manifest, text: string): void {
  const { env, secrets, tariff, access, payer, routing, idempotent } = manifest;
  const envBytes = Object.entries(env).reduce((sum, [k, v]) => sum + Buffer.byteLength(k + v), 0);
  const both = secrets.find((name) => name in env);
  if (envBytes > MAX_ENV_BYTES) {
    throw refuse(`env has ${envBytes} bytes, at most ${MAX_ENV_BYTES}`, lineOf(text, ['env']));
  }
  if (both) throw refuse(`${both} is in env and in secrets`, lineOf(text, ['secrets', both]));
  if (tariff.perCall > tariff.maxPrice) {
    throw refuse('tariff.perCall is above tariff.maxPrice', lineOf(text, ['tariff', 'perCall']));
  }
  if (payer === 'publisher' && access !== 'public') {
    throw refuse('payer "publisher" needs access "public"', lineOf(text, ['payer']));
  }
  if (routing?.hedge && !idempotent) {
    throw refuse('routing.hedge needs idempotent true', lineOf(text, ['routing', 'hedge']));
  }
}

function describe(error: ErrorObject | undefined, text: string): [why: string, line: number] {
  if (!error) return ['is not valid', 1];
  const path = error.instancePath.split('/').filter(Boolean);
  const extra: unknown = error.params.additionalProperty ?? error.propertyName;
  if (typeof extra === 'string') path.push(extra);
  const field = path.join('.') || 'it';
  const allowed: unknown = error.params.allowedValues;
  if (Array.isArray(allowed)) {
    return [`${field} must be one of ${allowed.join(', ')}`, lineOf(text, path)];
  }
  const meaning: unknown = error.parentSchema?.description;
  if (error.keyword === 'pattern' && typeof meaning === 'string') {
    return [`${field} does not fit (${meaning})`, lineOf(text, path)];
  }
  const why =
    error.keyword === 'additionalProperties' ? 'is not a known field' : (error.message ?? 'fails');
  return [`${field} ${why}`, lineOf(text, path)];
}

/** Line, from 1, of the last name in `path`, searched for after the names before it. */
function lineOf(text: string, path: readonly string[]): number {
  let at = 0;
  for (const name of path) {
    const next = text.indexOf(JSON.stringify(name), at);
    if (next > 0) at = next;
  }
  return text.slice(0, at).split('\n').length;
}

function refuse(why: string, line: number, cause?: unknown): ArtifactError {
  return new ArtifactError('ARTIFACT_MANIFEST', `${why}, on ${FILE}:${line}, correct it`, cause);
}
