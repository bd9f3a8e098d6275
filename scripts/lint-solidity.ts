// Runs solhint over the contracts, for `check`. The rules are below, each exception with its
// reason. A warning counts as a finding.
import { createRequire } from 'node:module';

interface Report {
  readonly line: number;
  readonly column: number;
  readonly message: string;
  readonly ruleId: string;
}

interface Solhint {
  processPath(
    pattern: string,
    config: object,
  ): { readonly file: string; readonly reports: readonly Report[] }[];
  processStr(
    source: string,
    config: object,
    fileName: string,
  ): { readonly reports: readonly Report[] };
}

// A CommonJS package without types; this type describes its exports.
const solhint: Solhint = createRequire(import.meta.url)('solhint');

const OFF = [
  // Gas is measured (npm run gas), not guessed from the text.
  'gas-calldata-parameters',
  'gas-increment-by-one',
  'gas-indexed-events',
  'gas-small-strings',
  'gas-strict-inequalities',
  'gas-struct-packing',
  // The compiler resolves imports; the rule does not know this project's folders.
  'import-path-check',
  // A JSON text is easier to read in single quotes than escaped.
  'quotes',
  // A permit that fails is ignored on purpose: then the allowance decides.
  'no-empty-blocks',
  // Assembly is short, each use saves measured gas, and it is marked memory-safe for the compiler.
  'no-inline-assembly',
] as const;

const RULES = {
  ...Object.fromEntries(OFF.map((rule) => [rule, 'off'])),
  'compiler-version': ['error', '0.8.37'],
  'func-visibility': ['error', { ignoreConstructors: true }],
  'use-natspec': 'off',
  'defaas/no-forbidden-opcode': 'error',
};

/**
 * Every function of an interface documents what it does, its units and its errors; a parameter only
 * if its name does not say enough.
 */
const NOTICES = {
  title: { enabled: false },
  author: { enabled: false },
  notice: { enabled: true },
  param: { enabled: false },
  return: { enabled: false },
};
/**
 * Findings of `use-natspec` to ignore, because the rule has no exceptions by kind: an event is
 * documented with the function that emits it.
 */
const UNTOLD_EVENT = / in event '/;

const SETS = [
  { pattern: 'contracts/{*,libraries/*}.sol', rules: RULES },
  { pattern: 'contracts/interfaces/*.sol', rules: { ...RULES, 'use-natspec': ['error', NOTICES] } },
  {
    pattern: 'contracts/test-tokens/*.sol',
    // Hostile tokens and wallets do on purpose what the rules prevent.
    rules: {
      ...RULES,
      'avoid-low-level-calls': 'off',
      'const-name-snakecase': 'off',
      'gas-custom-errors': 'off',
      'one-contract-per-file': 'off',
    },
  },
];

/**
 * Findings as `file:line:column rule: message`, empty if there are none. Paths are relative to the
 * working directory, the project's root.
 */
export function lintSolidity(): string[] {
  // solhint only warns if it cannot load our rules, so check for that.
  const probe = lintText('contract A { function f() external { block.prevrandao; } }', 'A.sol');
  if (!probe.some((finding) => finding.includes('defaas/no-forbidden-opcode'))) {
    throw new Error('solhint does not see scripts/solhint-plugin-defaas, run npm ci');
  }
  return SETS.flatMap(({ pattern, rules }) => {
    const results = solhint.processPath(pattern, configOf(rules));
    if (results.length === 0) throw new Error(`no contract at ${pattern}`);
    return results.flatMap(({ file, reports }) => linesOf(file, reports));
  });
}

/** The findings in one source text, by the rules of deployed contracts. */
export function lintText(source: string, fileName: string): string[] {
  return linesOf(fileName, solhint.processStr(source, configOf(RULES), fileName).reports);
}

function configOf(rules: object): object {
  return { extends: 'solhint:recommended', plugins: ['defaas'], rules };
}

function linesOf(file: string, reports: readonly Report[]): string[] {
  return reports
    .filter(({ message }) => !UNTOLD_EVENT.test(message))
    .map(({ line, column, message, ruleId }) => `${file}:${line}:${column} ${ruleId}: ${message}`);
}
