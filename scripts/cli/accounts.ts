// `defaas account new|list|import|export|use|fund [name]`: the keys in $DEFAAS_HOME/keys, and which
// of them commands use when nothing else is said.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { buffer as readAll } from 'node:stream/consumers';
import { JsonRpcProvider, parseEther, toQuantity } from 'ethers';
import { writeWholeSync } from '../../adapters/runtime/whole-file.ts';
import { createKey, keyOf } from '../../contracts/keystore.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { type Account, DEFAULT_ACCOUNT, defaultFile, keysFolder, readAccount } from './account.ts';
import { LOCAL_CHAIN_ID, openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import { confirmHome, confirmNow } from './confirm.ts';
import { type Flags, note, type Outcome, openGateway } from './context.ts';
import { locateHome, userPath } from './house.ts';
import { formatTable } from './table.ts';

/** What `fund` gives: gas, and tokens in base units. */
const FUND_WEI = parseEther('100');
const FUND_UNITS = 1_000_000_000n;
const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

export interface AccountOptions {
  /** File with a private key, for `import`. */
  readonly keyFile?: string;
}

interface Asked {
  readonly flags: Flags;
  readonly home: string;
  readonly name: string;
  readonly keyFile: string | undefined;
}

const ACTIONS: Readonly<Record<string, (asked: Asked) => Promise<Outcome> | Outcome>> = {
  new: createAccount,
  import: importAccount,
  export: exportAccount,
  use: useAccount,
  fund: fundAccount,
};

/** @throws CliError USAGE, KEY_MISSING, ACCOUNT_EXISTS */
export async function account(
  flags: Flags,
  action: string,
  name: string | undefined,
  { keyFile }: AccountOptions = {},
): Promise<Outcome> {
  const run = ACTIONS[action];
  if ((action === 'list') !== (name === undefined) || (action !== 'list' && !run)) {
    throw new CliError(
      'USAGE',
      `"account ${action}" is not complete, write account list, or account new, import, export, use or fund with a name`,
    );
  }
  if (keyFile !== undefined && action !== 'import') {
    throw new CliError('USAGE', `--key-file is of account import, leave it out with ${action}`);
  }
  if (name !== undefined && (!NAME.test(name) || name.startsWith('lane-'))) {
    throw new CliError(
      'USAGE',
      `"${name}" is no name of an account, use a-z, 0-9 and -, at most 63, not beginning with lane-`,
    );
  }
  await confirmHome(flags, locateHome());
  const { path: home } = locateHome();
  if (name === undefined || !run) return listAccounts(flags, home);
  return run({ flags, home, name, keyFile });
}

/** `defaas whoami`: the account that commands use now. @throws CliError KEY_MISSING */
export async function whoami(flags: Flags): Promise<Outcome> {
  await confirmHome(flags, locateHome());
  const { path: home } = locateHome();
  const { address } = readAccount(home, flags.account);
  const keyFile = fileOf(home, flags.account);
  return {
    document: { account: flags.account, address, keyFile },
    text: `${flags.account} ${address}, its key is in ${keyFile}`,
  };
}

function createAccount({ home, name }: Asked): Outcome {
  return written(home, name, createKey());
}

/** The key is read from a file or standard input: other processes can see a command line. */
async function importAccount({ home, name, keyFile }: Asked): Promise<Outcome> {
  const bytes =
    keyFile === undefined ? await readAll(process.stdin) : readFileSync(userPath(keyFile));
  const text = bytes.toString('utf8').trim();
  const hex = /^(?:0x)?([0-9a-f]{64})$/i.exec(text)?.[1] ?? privateKeyIn(text);
  try {
    // Safe: the pattern matches 32 bytes of hex, and keyOf checks the value.
    if (hex !== undefined) return written(home, name, keyOf(`0x${hex.toLowerCase()}` as Hex));
  } catch {
    // Not a key of secp256k1: said below, without the value.
  }
  throw new CliError(
    'USAGE',
    `what was read is no private key, on ${keyFile ?? 'standard input'}, give 64 hex digits or a file that account export wrote`,
  );
}

/** The key in a file of this folder's own form. */
function privateKeyIn(text: string): string | undefined {
  try {
    return /^0x([0-9a-f]{64})$/i.exec(JSON.parse(text).privateKey)?.[1];
  } catch {
    return undefined;
  }
}

function written(home: string, name: string, key: Account): Outcome {
  const file = fileOf(home, name);
  if (existsSync(file)) {
    throw new CliError(
      'ACCOUNT_EXISTS',
      `account ${name} is there, on ${file}, choose another name`,
    );
  }
  mkdirSync(keysFolder(home), { recursive: true, mode: 0o700 });
  writeWholeSync(file, `${JSON.stringify(key)}\n`);
  return {
    document: { name, address: key.address, file },
    text: `account ${name} is ${key.address}, its key is in ${file}: keep a copy; next: defaas account use ${name}`,
  };
}

async function exportAccount({ flags, home, name }: Asked): Promise<Outcome> {
  const { address, privateKey } = readAccount(home, name);
  const says = `the private key of ${name} (${address}) will be printed: whoever has it has the account`;
  await confirmNow(flags, says, 'Print it?');
  return { document: { name, address, privateKey }, text: privateKey };
}

function useAccount({ home, name }: Asked): Outcome {
  const { address } = readAccount(home, name);
  if (name === DEFAULT_ACCOUNT) rmSync(defaultFile(home), { force: true });
  else writeWholeSync(defaultFile(home), `${name}\n`);
  return {
    document: { name, address },
    text: `commands use ${name} (${address}) now, unless --account names another`,
  };
}

/** Gas and test tokens, of which a local chain has any number. @throws CliError USAGE */
async function fundAccount({ flags, home, name }: Asked): Promise<Outcome> {
  const { address } = readAccount(home, name);
  const opened = await openGateway(flags, { role: name });
  const chain = await openChain(opened);
  try {
    const { chainId, rpcUrl } = opened.connection.chain;
    if (chainId !== LOCAL_CHAIN_ID) {
      throw new CliError(
        'USAGE',
        `account fund is for the local chain, this one is ${chainId}, send ${address} ether and tokens from a wallet`,
      );
    }
    const provider = new JsonRpcProvider(rpcUrl, chainId, { staticNetwork: true });
    await provider.send('hardhat_setBalance', [address, toQuantity(FUND_WEI)]).finally(() => {
      provider.destroy();
    });
    await chain.synced(await chain.connect(opened.account).mintMock(FUND_UNITS));
    const [tokenUnits] = await chain.read('token', 'balanceOf', [address]);
    return {
      document: { name, address, tokenUnits },
      text: `${name} has ${formatTokens(tokenUnits)} test tokens and gas; next: defaas deposit 5 --account ${name}`,
    };
  } finally {
    chain.close();
    opened.close();
  }
}

function listAccounts(flags: Flags, home: string): Outcome {
  const files = existsSync(keysFolder(home)) ? readdirSync(keysFolder(home)) : [];
  const rows = files
    .map((file) => /^([^.]+)\.json$/.exec(file)?.[1] ?? '')
    .filter((name) => NAME.test(name) && !name.startsWith('lane-'))
    .sort()
    .map((name) => ({
      name,
      address: readAccount(home, name).address,
      used: name === flags.account,
    }));
  if (rows.length === 0)
    note(flags, `no accounts in ${keysFolder(home)}, run defaas account new <name>`);
  return {
    document: rows,
    text: formatTable(
      ['', 'account', 'address'],
      rows.map(({ name, address, used }) => [used ? '*' : '', name, address]),
    ),
  };
}

function fileOf(home: string, name: string): string {
  return join(keysFolder(home), `${name}.json`);
}
