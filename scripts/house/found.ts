// Creates the house's accounts, funds them and deploys the contracts. `up` runs it as a program
// when something is missing; after a kill the next run resumes.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { JsonRpcProvider, parseEther, toQuantity, Wallet } from 'ethers';
import { hasTexts, readState, writeWhole } from '../../adapters/runtime/whole-file.ts';
import { chainKindOf } from '../../contracts/chain/chains.ts';
import type { ContractAddresses } from '../../contracts/chain/types.ts';
import { deployContracts } from '../../contracts/deploy.ts';
import { deploymentsOf } from '../../contracts/deployments.ts';
import { createKey } from '../../contracts/keystore.ts';
import { type Account, keysFolder, readAccount } from '../cli/account.ts';
import { CliError, errorLine } from '../cli/cli-error.ts';
import { houseFile } from '../cli/house.ts';

/**
 * The accounts: deployer of the contracts, gateway and provider, its signing key, settler,
 * publisher of `hello`, user.
 */
export const ROLES = ['deployer', 'gateway', 'operator', 'settler', 'publisher', 'user'] as const;

/** The operator key only signs; it sends no transactions, so it needs no gas. */
const SENDERS = ROLES.filter((role) => role !== 'operator');
const FUNDS_WEI = parseEther('10000');
const LEAST_WEI = parseEther('0.5');

async function main(): Promise<void> {
  const [home, rpcUrl] = process.argv.slice(2);
  if (home === undefined || rpcUrl === undefined)
    throw new Error('usage: found.ts <home> <rpcUrl>');
  await makeKeys(home);
  const provider = new JsonRpcProvider(rpcUrl, undefined, { batchMaxCount: 1, cacheTimeout: -1 });
  try {
    await fund(provider, home);
    await deploy(provider, home);
  } finally {
    provider.destroy();
  }
}

async function makeKeys(home: string): Promise<void> {
  mkdirSync(keysFolder(home), { recursive: true, mode: 0o700 });
  for (const role of ROLES) {
    const file = join(keysFolder(home), `${role}.json`);
    if (!existsSync(file)) await writeWhole(file, `${JSON.stringify(createKey())}\n`);
  }
}

/** A development chain can mint gas money; on any other chain the accounts must have some. */
async function fund(provider: JsonRpcProvider, home: string): Promise<void> {
  for (const { address } of SENDERS.map((role) => readAccount(home, role))) {
    if ((await provider.getBalance(address)) >= LEAST_WEI) continue;
    try {
      await provider.send('anvil_setBalance', [address, toQuantity(FUNDS_WEI)]);
    } catch (cause) {
      throw new CliError(
        'ACCOUNT_EMPTY',
        `the account has no ether for gas, on ${address}, send it some and run npm start again`,
        { cause },
      );
    }
  }
}

async function deploy(provider: JsonRpcProvider, home: string): Promise<void> {
  const file = join(home, 'contracts.json');
  const { chainId } = await provider.getNetwork();
  const known = readState<ContractAddresses>(file, CONTRACTS);
  if (known && (await provider.getCode(known.billing)) !== '0x') {
    return believe(home, Number(chainId), known);
  }
  process.send?.({ step: 'deploying the contracts' });
  const deployer: Account = readAccount(home, 'deployer');
  const contracts = await deployContracts(new Wallet(deployer.privateKey, provider), {
    beaconK: 1,
    // A configured chain that the table does not know counts as local.
    chain: chainKindOf(Number(chainId)) ?? 'local',
  });
  await writeWhole(file, `${JSON.stringify(contracts, null, 2)}\n`);
  await believe(home, Number(chainId), contracts);
}

/** Writes the deployments file, which the command line trusts instead of a gateway's word. */
async function believe(home: string, chainId: number, contracts: ContractAddresses): Promise<void> {
  const deployments = deploymentsOf(chainId, contracts);
  await writeWhole(houseFile(home), `${JSON.stringify(deployments, null, 2)}\n`);
}

const CONTRACTS = {
  what: 'the addresses of the contracts',
  isWhole: (value: unknown) =>
    hasTexts(value, ['registry', 'identity', 'billing', 'disputes', 'beacon', 'token']),
  remedy: 'restore it; if it is removed, the house deploys contracts anew',
};

if (import.meta.main) {
  await main().then(
    () => process.send?.({ ready: {} }, () => process.disconnect?.()),
    (error: unknown) => {
      process.stderr.write(`${errorLine(error)}\n`);
      process.exit(1);
    },
  );
}
