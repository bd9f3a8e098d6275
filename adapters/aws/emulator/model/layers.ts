// The layers of the Lambda emulator: published zips that functions name by an ARN with a version.

import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeWhole } from '../../../runtime/whole-file.ts';
import { invalidField, invalidParameter } from './errors.ts';
import type { Owner } from './names.ts';

export interface LayerVersion {
  readonly version: number;
  readonly codeSha256: string;
  readonly codeSize: number;
  readonly createdAtMs: number;
  readonly description: string;
  readonly licenseInfo?: string;
  readonly compatibleRuntimes?: readonly string[];
  readonly compatibleArchitectures?: readonly string[];
  /** Its functions keep it. Nobody else finds it. */
  isDeleted: boolean;
}

export interface Layer {
  readonly name: string;
  /** Deleted ones too: a number is used once. Oldest first. */
  readonly versions: LayerVersion[];
}

export interface Layers {
  /** Sorted by name. */
  all(): readonly Layer[];
  find(name: string): Layer | undefined;
  /** The version of an ARN, deleted or not. */
  byArn(arn: string): LayerVersion | undefined;
  arn(name: string, version?: number): string;
  /** Durable when it resolves. */
  save(layer: Layer): Promise<void>;
  /** Hashes of all zips. */
  code(): readonly string[];
  /** What a request's `Layers` names. @throws AwsError 400 not an ARN, unknown, or too many */
  check(arns: readonly string[]): { Arn: string; CodeSize: number }[];
}

/** Most layers of a function. */
const MAX_LAYERS = 5;
export const LAYER_VERSION_ARN =
  '(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:\\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)';

export function openLayers(dir: string, { region, accountId }: Owner): Layers {
  mkdirSync(dir, { recursive: true });
  const layers = new Map<string, Layer>();
  for (const file of readdirSync(dir)) {
    if (!file.endsWith('.json')) continue;
    // `save` writes whole files of this type.
    const layer: Layer = JSON.parse(readFileSync(join(dir, file), 'utf8'));
    layers.set(layer.name, layer);
  }

  const arn = (name: string, version?: number) =>
    `arn:aws:lambda:${region}:${accountId}:layer:${name}${version === undefined ? '' : `:${version}`}`;

  function byArn(given: string): LayerVersion | undefined {
    const [, , , , , , name = '', version] = given.split(':');
    const found = layers.get(name)?.versions.find((each) => each.version === Number(version));
    return found && arn(name, found.version) === given ? found : undefined;
  }

  return {
    all: () => [...layers.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    find: (name) => layers.get(name),
    byArn,
    arn,

    async save(layer) {
      layers.set(layer.name, layer);
      await writeWhole(join(dir, `${layer.name}.json`), JSON.stringify(layer));
    },

    code: () =>
      [...layers.values()].flatMap(({ versions }) => versions.map(({ codeSha256 }) => codeSha256)),

    check(arns) {
      if (arns.length > MAX_LAYERS) {
        throw invalidParameter(`Cannot reference more than ${MAX_LAYERS} layers.`);
      }
      const pattern = new RegExp(`^(?:${LAYER_VERSION_ARN})$`);
      if (!arns.every((each) => pattern.test(each))) {
        const constraint = `Member must satisfy constraint: [Member must have length less than or equal to 2048, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: ${LAYER_VERSION_ARN}, Member must not be null]`;
        throw invalidField(`[${arns.join(', ')}]`, 'layers', constraint);
      }
      const seen = new Map<string, string>();
      return arns.map((each) => {
        if (each.split(':')[3] !== region) {
          throw invalidParameter(
            `Layers are not in the same region as the function. Layers are expected to be in region ${region}.`,
          );
        }
        const found = byArn(each);
        if (!found || found.isDeleted) {
          throw invalidParameter(`Layer version ${each} does not exist.`);
        }
        const layer = each.slice(0, each.lastIndexOf(':'));
        const other = seen.get(layer);
        if (other !== undefined) {
          throw invalidParameter(
            `Two different versions of the same layer are not allowed to be referenced in the same function. ${other} and ${each} are versions of the same layer.`,
          );
        }
        seen.set(layer, each);
        return { Arn: each, CodeSize: found.codeSize };
      });
    },
  };
}
