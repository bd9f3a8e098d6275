// The contract accounts of the contract tests, for tests of the gateway.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

export interface Compiled {
  readonly abi: never[];
  readonly evm: { readonly bytecode: { readonly object: string } };
}

/** The wallets of the contract tests, with OpenZeppelin's code as it is installed. */
export function compileWallets(): Record<string, Compiled> {
  const solc = createRequire(import.meta.url)('solc');
  const file = 'contracts/test-tokens/Wallets.sol';
  const input = {
    language: 'Solidity',
    sources: { [file]: { content: readFileSync(file, 'utf8') } },
    settings: {
      evmVersion: 'cancun',
      outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } },
    },
  };
  const find = (path: string) => ({ contents: readFileSync(`node_modules/${path}`, 'utf8') });
  return JSON.parse(solc.compile(JSON.stringify(input), { import: find })).contracts[file];
}
