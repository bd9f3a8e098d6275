// The operations on layers.

import {
  accessDenied,
  checkEnum,
  invalidField,
  invalidParameter,
  notFound,
} from '../model/errors.ts';
import type { Functions } from '../model/functions.ts';
import { LAYER_VERSION_ARN, type Layer, type Layers, type LayerVersion } from '../model/layers.ts';
import {
  type Fields,
  type OperationAnswer,
  type OperationRequest,
  type Operations,
  optionalText,
  page,
  record,
} from '../model/operation.ts';
import { NODE_RUNTIMES, OTHER_RUNTIMES, RETIRED_RUNTIMES } from '../model/runtimes.ts';
import { type OperationParts, zipOf } from './changes.ts';

/** A layer may name runtimes that no function takes any more. */
const RUNTIMES = [...NODE_RUNTIMES, ...OTHER_RUNTIMES, ...RETIRED_RUNTIMES];

export function createLayerOperations(parts: OperationParts): Operations {
  const { functions, layers } = parts;
  return {
    PublishLayerVersion: (request) => publishLayer(parts, request),

    GetLayerVersion({ item, subitem }) {
      const name = nameOf(functions, item);
      const found = liveVersions(layers.find(name)).find(
        ({ version }) => version === numberOf(subitem),
      );
      if (!found) throw notFound('The resource you requested does not exist.');
      return { status: 200, body: whole(parts, name, found) };
    },

    GetLayerVersionByArn({ query }) {
      const arn = query.get('Arn') ?? '';
      if (!new RegExp(`^(?:${LAYER_VERSION_ARN})$`).test(arn)) {
        const constraint = `Member must satisfy regular expression pattern: ${LAYER_VERSION_ARN}`;
        throw invalidField(arn, 'arn', constraint);
      }
      const found = layers.byArn(arn);
      if (!found || found.isDeleted) throw notFound('The resource you requested does not exist.');
      return { status: 200, body: whole(parts, arn.split(':')[6] ?? '', found) };
    },

    ListLayerVersions({ item, query }) {
      const name = nameOf(functions, item);
      const all = matching(liveVersions(layers.find(name)), query);
      const { items, next } = page(all, query, ({ version }) => String(version));
      const LayerVersions = items.map((each) => summary(layers, name, each));
      return { status: 200, body: { LayerVersions, ...next } };
    },

    ListLayers({ query }) {
      const all = layers.all().flatMap((layer) => {
        const [latest] = matching(liveVersions(layer), query);
        return latest ? [{ name: layer.name, latest }] : [];
      });
      const { items, next } = page(all, query, ({ name }) => name);
      const Layers = items.map(({ name, latest }) => ({
        LayerName: name,
        LayerArn: layers.arn(name),
        LatestMatchingVersion: summary(layers, name, latest),
      }));
      return { status: 200, body: { Layers, ...next } };
    },

    async DeleteLayerVersion({ item, subitem }) {
      const wanted = numberOf(subitem);
      const layer = layers.find(nameOf(functions, item));
      const found = layer?.versions.find(({ version }) => version === wanted);
      if (layer && found) {
        found.isDeleted = true;
        await layers.save(layer);
      }
      return { status: 204 };
    },
  };
}

async function publishLayer(
  parts: OperationParts,
  { item, body }: OperationRequest,
): Promise<OperationAnswer> {
  const { functions, layers, nowMs } = parts;
  const name = nameOf(functions, item);
  const runtimes = textsOf(body, 'CompatibleRuntimes');
  const architectures = textsOf(body, 'CompatibleArchitectures');
  checkList(runtimes, 'compatibleRuntimes', RUNTIMES);
  checkList(architectures, 'compatibleArchitectures', ['x86_64', 'arm64']);
  const code = await functions.storeCode(zipOf(record(body, 'Content')));
  const licenseInfo = optionalText(body, 'LicenseInfo');
  const layer: Layer = layers.find(name) ?? { name, versions: [] };
  const published: LayerVersion = {
    version: layer.versions.length + 1,
    codeSha256: code.CodeSha256,
    codeSize: code.CodeSize,
    createdAtMs: nowMs(),
    description: optionalText(body, 'Description') ?? '',
    ...(licenseInfo !== undefined && { licenseInfo }),
    ...(runtimes && { compatibleRuntimes: runtimes }),
    ...(architectures && { compatibleArchitectures: architectures }),
    isDeleted: false,
  };
  layer.versions.push(published);
  await layers.save(layer);
  return { status: 201, body: whole(parts, name, published) };
}

/** Newest first. */
function liveVersions(layer: Layer | undefined): LayerVersion[] {
  return (layer?.versions ?? []).filter(({ isDeleted }) => !isDeleted).reverse();
}

function matching(versions: readonly LayerVersion[], query: URLSearchParams): LayerVersion[] {
  const runtime = query.get('CompatibleRuntime');
  const architecture = query.get('CompatibleArchitecture');
  checkEnum(runtime, 'compatibleRuntime', RUNTIMES);
  checkEnum(architecture, 'compatibleArchitecture', ['x86_64', 'arm64']);
  return versions.filter(
    ({ compatibleRuntimes: runtimes = [], compatibleArchitectures: architectures = [] }) =>
      (runtime === null || runtimes.includes(runtime)) &&
      (architecture === null || architectures.includes(architecture)),
  );
}

function summary(layers: Layers, name: string, of: LayerVersion) {
  return {
    LayerVersionArn: layers.arn(name, of.version),
    Version: of.version,
    Description: of.description,
    CreatedDate: new Date(of.createdAtMs).toISOString().replace('Z', '+0000'),
    CompatibleRuntimes: of.compatibleRuntimes,
    CompatibleArchitectures: of.compatibleArchitectures,
    LicenseInfo: of.licenseInfo,
  };
}

function whole({ layers, codeUrl }: OperationParts, name: string, of: LayerVersion) {
  return {
    ...summary(layers, name, of),
    LayerArn: layers.arn(name),
    Content: {
      Location: codeUrl(of.codeSha256),
      CodeSha256: of.codeSha256,
      CodeSize: of.codeSize,
    },
  };
}

/** A layer's name, given plain or as an ARN. @throws AwsError 400, 403 */
function nameOf({ region, accountId }: Functions, given: string): string {
  const pattern =
    '(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:\\d{12}:layer:[a-zA-Z0-9-_]+)|[a-zA-Z0-9-_]+';
  if (!new RegExp(`^(?:${pattern})$`).test(given) || given.length > 140) {
    const constraint = `Member must satisfy regular expression pattern: ${pattern}`;
    throw invalidField(given, 'layerName', constraint);
  }
  const parts = given.split(':');
  if (parts.length === 1) return given;
  if (parts[3] !== region || parts[4] !== accountId) throw accessDenied();
  return parts[6] ?? '';
}

function numberOf(given: string): number {
  const number = Number(given);
  if (!Number.isInteger(number)) {
    throw invalidField(given, 'versionNumber', 'Member must be a number');
  }
  if (number < 1) throw invalidParameter('Layer Version Cannot be less than 1');
  return number;
}

function textsOf(body: Fields, field: string): string[] | undefined {
  const value = body[field];
  return Array.isArray(value) ? value.map(String) : undefined;
}

function checkList(given: readonly string[] = [], field: string, known: readonly string[]): void {
  if (given.every((each) => known.includes(each))) return;
  const constraint = `Member must satisfy enum value set: [${known.join(', ')}]`;
  throw invalidField(`[${given.join(', ')}]`, field, constraint);
}
