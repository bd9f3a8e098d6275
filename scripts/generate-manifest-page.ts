// Writes docs/manifest.md, the reference of `defaas.json`, from its schema. `--check` writes
// nothing and exits 1 when the page is stale.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import schema from '../ipfs/defaas.schema.json' with { type: 'json' };

const PAGE = join(import.meta.dirname, '..', 'docs', 'manifest.md');

/** What the page needs of a schema's node. */
interface Node {
  readonly $ref?: string;
  readonly description?: string;
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly items?: Node;
  readonly additionalProperties?: Node | boolean;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxLength?: number;
  readonly maxProperties?: number;
}

const HEAD = `<!-- Generated from ipfs/defaas.schema.json by scripts/generate-manifest-page.ts; do not edit. -->
# defaas.json

${schema.description} An unknown member is refused, and so is a value that does not fit, each with its line.

For completion in an editor, \`"$schema": "./defaas.schema.json"\` names the schema, which \`defaas init\` puts beside the file. It is
not published.

| member | form | default | what |
| --- | --- | --- | --- |
`;

const TOGETHER = `
These hold between members:

- \`tariff.perCall\` is at most \`tariff.maxPrice\`.
- \`payer: "publisher"\` needs \`access: "public"\`.
- \`routing.hedge\` needs \`idempotent: true\`.
- A name is in \`env\` or in \`secrets\`, not in both, and all of \`env\` has at most 4096 bytes.
- A value of \`env\` that looks like a key is refused: everything in this file is public.
`;

export function manifestPage(): string {
  // Safe: a test compiles the schema, and the page names only members that are in it.
  const root = schema as Node;
  return `${HEAD}${rowsOf(root, '').join('\n')}\n${TOGETHER}`;
}

function rowsOf({ properties = {}, required = [] }: Node, prefix: string): string[] {
  return Object.entries(properties).flatMap(([name, written]) => {
    const node = resolve(written);
    const path = `${prefix}${name}`;
    const preset = written.default ?? node.default;
    const cells = [
      `\`${path}\``,
      formOf(node),
      required.includes(name) ? 'required' : preset === undefined ? '-' : code(preset),
      sentence(written.description ?? node.description ?? ''),
    ];
    return [`| ${cells.map(inCell).join(' | ')} |`, ...rowsOf(node, `${path}.`)];
  });
}

function resolve(node: Node): Node {
  const [, name] = /^#\/definitions\/(\w+)$/.exec(node.$ref ?? '') ?? [];
  // Safe: as above.
  return name === undefined ? node : ((schema.definitions as Record<string, Node>)[name] ?? node);
}

function formOf(node: Node): string {
  if (node.$ref === undefined && node.enum) return node.enum.map(code).join(', ');
  const { type = 'integer or decimal text', minimum, maximum, items, additionalProperties } = node;
  const bounds: string[] = [];
  if (minimum !== undefined || maximum !== undefined) {
    bounds.push(`${minimum ?? ''} to ${maximum ?? ''}`);
  }
  if (node.maxItems !== undefined) bounds.push(`at most ${node.maxItems}`);
  if (node.maxProperties !== undefined) bounds.push(`at most ${node.maxProperties}`);
  if (node.minItems !== undefined) bounds.push(`at least ${node.minItems}`);
  const of = items ? ` of ${formOf(resolve(items))}` : '';
  const values = typeof additionalProperties === 'object' ? ' of names and texts' : '';
  return `${type}${of}${values}${bounds.length > 0 ? `, ${bounds.join(', ')}` : ''}`;
}

function code(value: unknown): string {
  return `\`${JSON.stringify(value)}\``;
}

/** The schema's descriptions also end messages, so some begin with a small letter. */
function sentence(text: string): string {
  return text === '' || /[.]$/.test(text) ? text : `${text}.`;
}

function inCell(text: string): string {
  return text.replaceAll('|', '\\|');
}

if (import.meta.main) {
  const page = manifestPage();
  const isCheck = process.argv.includes('--check');
  if (!isCheck) writeFileSync(PAGE, page);
  else if (readFileSync(PAGE, 'utf8') !== page) {
    process.stderr.write('docs/manifest.md is stale, run node scripts/generate-manifest-page.ts\n');
    process.exitCode = 1;
  }
}
