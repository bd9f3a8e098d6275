// Runs the Solidity tests against mutants. The tests are compiled once, without the contracts, and
// load each mutant's code when they deploy it. Hardhat's runner compiles every contract into every
// test, which takes ten times as long.
import { globSync, readFileSync } from 'node:fs';
import {
  type Artifact,
  type ArtifactId,
  CollectStackTraces,
  EdrContext,
  L1_CHAIN_TYPE,
  l1GenesisState,
  l1HardforkFromString,
  l1SolidityTestRunnerFactory,
  OSAKA,
  type SuiteResult,
} from '@nomicfoundation/edr';
import { type Compiled, compile, type Sources } from './solc.ts';

const TESTS = 'test/contracts';
/** Hardhat's default, with which the tests run. */
const HARDFORK = OSAKA;
/** Fewer than in `npm test`, because unoptimised contracts are slower. */
const INVARIANT_RUNS = 8;
const SOLC_VERSION = '0.8.37';
/** Ends a mutant that loops for ever; no test needs as much. */
const GAS_LIMIT = 2n ** 32n;

/** Contracts that the tests deploy by `new`, and their sources. */
const DEPLOYED: Readonly<Record<string, string>> = {
  Beacon: 'contracts/Beacon.sol',
  Billing: 'contracts/Billing.sol',
  Disputes: 'contracts/Disputes.sol',
  FunctionRegistry: 'contracts/FunctionRegistry.sol',
  Identity: 'contracts/Identity.sol',
  LibraryProbe: 'contracts/test-tokens/LibraryProbe.sol',
  MockUSDC: 'contracts/test-tokens/MockUSDC.sol',
};

export interface Arena {
  /**
   * The first test that fails on the given mutant, by suite and name; undefined if all pass. Throws
   * solc's error if the mutant does not compile.
   */
  fight(
    file: string,
    source: string,
    suites: readonly string[],
    fuzzRuns: number,
  ): Promise<string | undefined>;
  readonly suites: readonly string[];
}

export async function createArena(): Promise<Arena> {
  const edr = new EdrContext();
  await edr.registerSolidityTestRunnerFactory(L1_CHAIN_TYPE, l1SolidityTestRunnerFactory());
  const files = globSync(`${TESTS}/*.t.sol`).sort();
  const tests = artifactsOf(compile(files, detachedTests()));
  const originals = artifactsOf(compile(Object.values(DEPLOYED), new Map()));

  async function run(
    contracts: readonly Artifact[],
    ids: ArtifactId[],
    fuzzRuns: number,
  ): Promise<string | undefined> {
    let failed: string | undefined;
    await new Promise<void>((resolve, reject) => {
      let left = ids.length;
      const done = ({ id, testResults }: SuiteResult): void => {
        const broken = testResults.find(({ status }) => status === 'Failure');
        if (broken !== undefined) failed ??= `${id.name}.${broken.name}`;
        if (--left === 0) resolve();
      };
      edr
        .runSolidityTests(
          L1_CHAIN_TYPE,
          [...contracts, ...tests],
          ids,
          {
            projectRoot: process.cwd(),
            hardfork: HARDFORK,
            localPredeploys: l1GenesisState(l1HardforkFromString(HARDFORK)),
            gasLimit: GAS_LIMIT,
            disableBlockGasLimit: true,
            disableTransactionGasCap: true,
            collectStackTraces: CollectStackTraces.OnFailure,
            fuzz: { runs: fuzzRuns, seed: '0x1' },
            // Skip shrinking: only the failure matters, and shrinking takes longer than everything
            // else.
            invariant: {
              runs: INVARIANT_RUNS,
              depth: 32,
              failOnRevert: true,
              shrinkRunLimit: 0,
            },
          },
          { buildInfos: [], ignoreContracts: false },
          done,
        )
        .catch(reject);
    });
    return failed;
  }

  return {
    suites: files.map((file) => file.slice(TESTS.length + 1, -'.t.sol'.length)),
    async fight(file, source, suites, fuzzRuns) {
      const dependents = Object.entries(DEPLOYED).filter(([name]) => uses(name, file, suites));
      const roots = dependents.map(([, path]) => path);
      const mutated = artifactsOf(compile(roots, new Map([[file, source]])));
      const isMutated = new Set(mutated.map(({ id }) => id.name));
      const others = originals.filter(({ id }) => !isMutated.has(id.name));
      const ids = tests
        .map(({ id }) => id)
        .filter(({ source }) => suites.some((suite) => source === `${TESTS}/${suite}.t.sol`));
      return run([...others, ...mutated], ids, fuzzRuns);
    },
  };
}

/**
 * Whether a change of `file` changes the code of contract `name` in these suites: a library is
 * compiled into all that use it.
 */
function uses(name: string, file: string, suites: readonly string[]): boolean {
  if (DEPLOYED[name] === file) return true;
  if (!file.startsWith('contracts/libraries/')) return false;
  return name === 'LibraryProbe' || !(suites.length === 1 && suites[0] === 'Libraries');
}

/** The tests with `new X(...)` written as a deployment of X's artifact of that run. */
function detachedTests(): Sources {
  const names = Object.keys(DEPLOYED).join('|');
  const sources = new Map<string, string>();
  for (const path of globSync(`${TESTS}/*.sol`)) {
    let text = readFileSync(path, 'utf8');
    for (;;) {
      const found = new RegExp(`\\bnew (${names})\\(`).exec(text);
      if (found === null) break;
      const name = found[1] ?? '';
      const open = found.index + found[0].length;
      const close = closing(text, open);
      const code = `vm.getCode("${DEPLOYED[name]}:${name}")`;
      const created = `${name}(_create(${code}, abi.encode(${text.slice(open, close)})))`;
      text = `${text.slice(0, found.index)}${created}${text.slice(close + 1)}`;
    }
    sources.set(path, path.endsWith('/Vm.sol') ? withDeployment(text) : text);
  }
  return sources;
}

/** Index of the bracket that closes the one before `from`. */
function closing(text: string, from: number): number {
  let depth = 1;
  for (let i = from; i < text.length; i++) {
    if (text[i] === '(') depth++;
    if (text[i] === ')' && --depth === 0) return i;
  }
  throw new Error('a bracket that never closes');
}

/** A constructor's revert passes on; under expectRevert there is none. */
function withDeployment(vm: string): string {
  return vm
    .replace('interface Vm {', `interface Vm {\n    ${GET_CODE}`)
    .replace('abstract contract Test {', `abstract contract Test {\n${CREATE}`);
}

const GET_CODE = 'function getCode(string calldata) external view returns (bytes memory);';
const CREATE = `
    function _create(bytes memory code, bytes memory arguments) internal returns (address created) {
        bytes memory all = bytes.concat(code, arguments);
        assembly ("memory-safe") {
            created := create(0, add(all, 0x20), mload(all))
            if iszero(created) {
                let to := mload(0x40)
                returndatacopy(to, 0, returndatasize())
                revert(to, returndatasize())
            }
        }
    }
`;

function artifactsOf(
  contracts: Readonly<Record<string, Readonly<Record<string, Compiled>>>>,
): Artifact[] {
  return Object.entries(contracts).flatMap(([source, byName]) =>
    Object.entries(byName).map(([name, { abi, evm }]) => ({
      id: { name, source, solcVersion: SOLC_VERSION },
      contract: {
        abi: JSON.stringify(abi),
        bytecode: `0x${evm.bytecode.object}`,
        deployedBytecode: `0x${evm.deployedBytecode.object}`,
        linkReferences: {},
        deployedLinkReferences: {},
      },
    })),
  );
}
