// Runs solc in this process, without Hardhat: a single contract compiles in seconds, and there are
// hundreds of mutants.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** Source texts by path from the project's root; they override the files. */
export type Sources = ReadonlyMap<string, string>;

/** A node of solc's syntax tree; `src` is `start:length:file` in bytes. */
export interface AstNode {
  readonly nodeType: string;
  readonly src: string;
  readonly [member: string]: unknown;
}

export interface Compiled {
  readonly abi: readonly { readonly type: string; readonly name?: string }[];
  readonly evm: {
    readonly bytecode: { readonly object: string };
    readonly deployedBytecode: { readonly object: string };
  };
}

interface Output {
  readonly errors?: readonly { readonly severity: string; readonly formattedMessage: string }[];
  readonly contracts?: Readonly<Record<string, Readonly<Record<string, Compiled>>>>;
  readonly sources?: Readonly<Record<string, { readonly ast: AstNode }>>;
}

interface Solc {
  compile(
    input: string,
    callbacks: { import(path: string): { contents: string } | { error: string } },
  ): string;
}

// CommonJS without types.
const solc: Solc = createRequire(import.meta.url)('solc');

/** The first error of solc. */
export class CompileError extends Error {}

/**
 * The contracts of `roots` by file and name. Without optimizer: the tests check behaviour, not gas.
 */
export function compile(roots: readonly string[], sources: Sources) {
  const { contracts } = run(roots, sources, {
    '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] },
  });
  return contracts ?? {};
}

export function parse(file: string, sources: Sources): AstNode {
  const ast = run([file], sources, { '*': { '': ['ast'] } }).sources?.[file]?.ast;
  if (ast === undefined) throw new Error(`no syntax tree of ${file}`);
  return ast;
}

function run(roots: readonly string[], sources: Sources, all: object): Output {
  const input = {
    language: 'Solidity',
    sources: Object.fromEntries(roots.map((file) => [file, { content: read(file, sources) }])),
    settings: {
      evmVersion: 'cancun',
      optimizer: { enabled: false },
      metadata: { appendCBOR: false },
      // Output only for the roots; their imports are compiled as far as needed.
      outputSelection: Object.fromEntries(roots.map((file) => [file, Object.values(all)[0]])),
    },
  };
  let missing: unknown;
  const find = (path: string) => {
    try {
      return { contents: read(path, sources) };
    } catch (error) {
      missing = error;
      return { error: String(error) };
    }
  };
  const output: Output = JSON.parse(solc.compile(JSON.stringify(input), { import: find }));
  // Not caused by a mutant: solc would report an error.
  if (missing !== undefined) throw missing;
  const error = output.errors?.find(({ severity }) => severity === 'error');
  if (error !== undefined) throw new CompileError(error.formattedMessage);
  return output;
}

function read(path: string, sources: Sources): string {
  const given = sources.get(path);
  if (given !== undefined) return given;
  return readFileSync(existsSync(path) ? path : `node_modules/${path}`, 'utf8');
}
