// Hardhat 3 with npm's own solc: nothing is ever downloaded. `default` serves everyday tests; gas figures and deployments use `production`.
import { createRequire } from 'node:module';
import hardhatEthers from '@nomicfoundation/hardhat-ethers';
import { defineConfig } from 'hardhat/config';

const require = createRequire(import.meta.url);

/** One compiler for every profile. The path is absolute, for a profile without one asks the network. */
const solc = (viaIR: boolean, runs: number) => ({
  version: '0.8.37',
  path: require.resolve('solc/soljson.js'),
  settings: { viaIR, evmVersion: 'cancun', optimizer: { enabled: true, runs } },
});

export default defineConfig({
  plugins: [hardhatEthers],
  paths: { sources: './contracts', tests: { solidity: './test/contracts' } },
  solidity: {
    splitTestsCompilation: true,
    // One compilation of all sources, also for production, which is by default one per source.
    profiles: { default: solc(false, 200), production: { ...solc(true, 2_000), isolated: false } },
  },
  test: {
    solidity: { fuzz: { runs: 256 }, invariant: { runs: 64, depth: 32, failOnRevert: true } },
  },
});
