// A proxy in front of an honest gateway names other contracts, another chain, account or RPC: the
// real commands, as processes of their own, sign and send nothing.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { JsonRpcProvider, Wallet } from 'ethers';
import type { ContractAddresses } from '../../../contracts/chain/types.ts';
import { deployContracts } from '../../../contracts/deploy.ts';
import { type Deployments, deploymentsOf } from '../../../contracts/deployments.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { type CommandLine, createCommandLine } from './beside.ts';
import { type Between, startBetween } from './between.ts';

const MAIN = resolve(import.meta.dirname, '../../../scripts/defaas.ts');
const ECHO = 'export default async (request) => new Response(await request.text());';
const HELLO_FOLDER = resolve(import.meta.dirname, '../../../scripts/examples/hello');
const WELL_KNOWN = '/.well-known/defaas';
const ROLES_BOTH = 3;
/** Every command that speaks to a gateway, as `defaas help` lists them. */
const COMMANDS: readonly (readonly string[])[] = [
  ['deposit', '5'],
  ['deposit', '5', '--to', 'free'],
  ['balance'],
  ['invoke', 'echo', '--data', 'x'],
  ['token'],
  ['token', '--control'],
  ['token', '--allow', '1'],
  ['receipts'],
  ['sponsor', 'echo', '--daily', '1'],
  ['register', HELLO_FOLDER],
  ['deploy', 'echo', '--to', 'aws'],
  ['diff', 'echo', '--to', 'aws'],
  ['rollback', 'echo'],
  ['versions', 'echo'],
  ['deprecate', 'echo@1'],
  ['destroy', 'echo', '--yes'],
  ['logs', 'echo'],
  ['secret', 'list', 'echo'],
  ['list'],
  ['open', 'echo'],
  ['estimate', 'echo'],
  ['grant', 'echo', KEYS.user.address],
  ['grants', 'echo'],
  ['revoke', 'echo', '--all'],
  ['earnings'],
  ['account', 'fund', 'user'],
  ['settle'],
  ['rotate-key'],
  ['audit'],
  ['doctor'],
];
/** Those that ask the chain alone. */
const OF_CHAIN: typeof COMMANDS = [
  ['withdraw', '--yes'],
  ['payouts'],
  ['payouts', '--send'],
  ['collect'],
  ['bond', '1'],
  ['unbond', '1'],
  ['leave'],
  ['fee', '1'],
  ['migrate', '--to', 'local'],
  ['watch', '--once'],
  ['demand', KEYS.gateway.address, '0', '0', '1'],
  ['expire', 'all'],
];
/** Those that read a file before all else. */
const OF_FILE = ['prove'];
/** Those that speak to neither. */
const AT_HOME = ['up', 'init', 'dev', 'whoami', 'down', 'reset', 'help'];
/** Number of concurrent processes. */
const AT_ONCE = 4;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

describe('the command line’s trust root', function () {
  this.timeout(240_000);
  let house: SmallHouse;
  let between: Between;
  let cli: CommandLine;
  let thief: ContractAddresses;
  let asked: string[];
  before(async () => {
    between = await startBetween(() => house.url());
    house = await startSmallHouse({ publicOrigins: [between.url] });
    await house.publish('echo', ECHO);
    const provider = new JsonRpcProvider(house.chain.url, 31337, { cacheTimeout: -1 });
    // Honest code, and money of the thief's own making.
    thief = await deployContracts(new Wallet(testKey(9).privateKey, provider), { beaconK: 1 });
    provider.destroy();
  });
  after(async () => {
    await between?.close();
    await house?.close();
  });
  beforeEach(() => {
    cli = createCommandLine(house);
    asked = [];
    between.ask = ({ path }) => {
      asked.push(path);
      return undefined;
    };
  });
  afterEach(() => {
    between.lie = () => undefined;
    cli.remove();
  });

  /** Typed in the home, without a terminal. */
  const defaas = (words: readonly string[], env: Record<string, string> = {}): Promise<Ended> => {
    const options = {
      cwd: tmpdir(),
      env: {
        PATH: process.env.PATH,
        NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
        HOME: cli.home,
        INIT_CWD: cli.home,
        DEFAAS_HOME: cli.home,
        DEFAAS_GATEWAY: between.url,
        DEFAAS_CHAIN_RPC_URL: house.chain.url,
        ...env,
      },
    };
    return new Promise((done) => {
      execFile(process.execPath, [MAIN, ...words], options, (error, stdout, stderr) => {
        done({ code: error ? Number(error.code) : 0, stdout, stderr });
      });
    });
  };
  /** The gateway's document with some members of it changed. */
  const says = (changes: { readonly contracts?: object } & Record<string, unknown>) => {
    between.lie = ({ path, body }) => {
      if (path !== WELL_KNOWN) return undefined;
      const said = JSON.parse(`${body}`);
      const contracts = { ...said.contracts, ...changes.contracts };
      return { body: JSON.stringify({ ...said, ...changes, contracts }) };
    };
  };
  const sent = async (): Promise<unknown[]> =>
    Promise.all(
      Object.values(KEYS).map(({ address }) =>
        house.chain.rpc('eth_getTransactionCount', [address, 'latest']),
      ),
    );
  const believe = (deployments: Deployments, file = 'deployment.json'): string => {
    writeFileSync(join(cli.home, file), JSON.stringify(deployments));
    return join(cli.home, file);
  };
  const each = async (
    commands: typeof COMMANDS,
    look: (words: readonly string[]) => Promise<void>,
  ): Promise<void> => {
    const queue = [...commands];
    const work = async () => {
      for (let words = queue.shift(); words; words = queue.shift()) await look(words);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  };
  const refused = (ended: Ended, code: string, what = '') => {
    assert.match(ended.stderr, new RegExp(`^${code}: [^\\n]+\\n$`), `${what} ${ended.stderr}`);
    assert.equal(ended.code, 1);
  };

  it('is tried with every command', async () => {
    const { stdout } = await defaas(['--help']);

    const named = [...stdout.matchAll(/^ {2}([a-z][a-z-]*)(?:\|[a-z]+)? .*/gm)].map(
      ([, name = '']) => name,
    );
    const tried = new Set([
      ...AT_HOME,
      ...OF_FILE,
      ...[...COMMANDS, ...OF_CHAIN].map(([name = '']) => name),
    ]);
    assert.deepEqual(new Set(named), tried);
  });

  it('lets no command sign or send anything when the gateway names another Billing', async () => {
    says({ contracts: { billing: thief.billing } });
    const before = await sent();

    await each(COMMANDS, async (words) => {
      // By the publisher: nothing else may be what stops a publisher's commands.
      const ended = await defaas([...words, '--account', 'publisher', '--yes']);
      refused(ended, 'DEPLOYMENT_MISMATCH', words.join(' '));
    });

    assert.deepEqual(await sent(), before);
    assert.deepEqual(
      asked.filter((path) => path !== WELL_KNOWN),
      [],
    );
  });

  it('refuses any other contract, token or chain, and a complete set of a thief’s contracts', async () => {
    const before = await sent();
    const contracts = Object.entries(thief).filter(([name]) => name !== 'deployedAtBlock');
    const lies = [
      ...contracts.map(([name, address]) => ({ contracts: { [name]: address } })),
      { contracts: thief },
      { chainId: 1 },
    ];
    for (const lie of lies) {
      says(lie);
      refused(await defaas(['deposit', '5', '--to', 'free', '--yes']), 'DEPLOYMENT_MISMATCH');
    }

    assert.deepEqual(await sent(), before);
  });

  it('asks no RPC that a gateway names, and reads from the trust root’s first block on', async () => {
    const other = await startBetween(() => house.chain.url);
    let requests = 0;
    other.ask = () => {
      requests += 1;
      return undefined;
    };
    says({ rpcUrl: other.url, contracts: { deployedAtBlock: 1_000_000 } });

    const { code, stderr } = await defaas(['deposit', '1', '--to', 'free']);
    await other.close();

    assert.equal(code, 0, stderr);
    assert.equal(requests, 0);
  });

  it('lets no command send anything while its RPC shows other contract code', async () => {
    const before = await sent();
    const rpc = await startBetween(() => house.chain.url);
    const { billing } = house.chain.contracts;
    const other = await house.chain.rpc('eth_getCode', [house.chain.contracts.token, 'latest']);
    rpc.lie = ({ sent, body }) => {
      const { method, params } = JSON.parse(sent);
      if (method !== 'eth_getCode' || params[0].toLowerCase() !== billing) return undefined;
      return { body: JSON.stringify({ ...JSON.parse(`${body}`), result: other }) };
    };

    await each([['deposit', '5'], ...OF_CHAIN], async (words) => {
      const ended = await defaas([...words, '--account', 'gateway', '--rpc', rpc.url]);
      refused(ended, 'DEPLOYMENT_CODE', words.join(' '));
    });
    await rpc.close();

    assert.deepEqual(await sent(), before);
  });

  it('refuses a file that names another token than Billing has, and says which', async () => {
    const { token: _, ...rest } = house.chain.contracts;
    const file = believe(deploymentsOf(31337, { ...rest, token: thief.token }), 'other.json');
    says({ contracts: { token: thief.token } });
    const before = await sent();

    const asking = await defaas(['deposit', '5', '--deployment', file]);
    const told = await defaas(['deposit', '5', '--deployment', file, '--yes']);

    refused(asking, 'DEPLOYMENT_UNCONFIRMED');
    assert.ok(asking.stderr.includes(thief.token), asking.stderr);
    refused(told, 'DEPLOYMENT_CODE');
    assert.deepEqual(await sent(), before);
  });

  it('asks once about a file that the user names, and again when the file or the RPC changes', async () => {
    const file = believe(deploymentsOf(31337, house.chain.contracts), 'mine.json');
    rmSync(join(cli.home, 'deployment.json'));
    const deposit = (...words: string[]) => defaas(['deposit', '1', '--to', 'free', ...words]);
    const named = ['--deployment', file];

    refused(await deposit(...named), 'DEPLOYMENT_UNCONFIRMED');
    const first = await deposit(...named, '--yes');
    const second = await defaas(['deposit', '1', '--to', 'free'], { DEFAAS_DEPLOYMENT: file });
    const rpc = await startBetween(() => house.chain.url);
    const elsewhere = await deposit(...named, '--rpc', rpc.url);
    await rpc.close();
    writeFileSync(file, `${readFileSync(file, 'utf8')}\n`);
    const changed = await deposit(...named);

    assert.deepEqual([first.code, second.code], [0, 0], first.stderr + second.stderr);
    refused(elsewhere, 'DEPLOYMENT_UNCONFIRMED');
    refused(changed, 'DEPLOYMENT_UNCONFIRMED');
    refused(await deposit('--yes'), 'DEPLOYMENT_MISSING');
  });

  it('binds a gateway to one account, which is registered under its origin or confirmed by the user', async () => {
    // This user's home is not that of the gateway.
    rmSync(join(cli.home, 'keys/gateway.json'));
    const swindler = testKey(10);
    const register = async (uri: string) => {
      const writer = house.view.connect(swindler);
      const terms = { roles: ROLES_BOTH, uri, jwksThumbprint: `0x${'00'.repeat(32)}` } as const;
      const known = house.view.view.party(swindler.address);
      const block = known ? await writer.updateParty(terms) : await writer.registerParty(terms);
      await house.view.synced(block);
    };
    const deposit = (...words: string[]) => defaas(['deposit', '1', '--to', 'free', ...words]);

    says({ gateway: swindler.address });
    refused(await deposit('--yes'), 'DEPLOYMENT_MISMATCH', 'no gateway at all');
    await register('https://swindler.example');
    refused(await deposit(), 'DEPLOYMENT_UNCONFIRMED', 'registered elsewhere');
    says({});
    refused(
      await deposit(),
      'DEPLOYMENT_UNCONFIRMED',
      'the honest one, at a URL it has not registered',
    );
    const confirmed = await deposit('--yes');
    const again = await deposit();
    says({ gateway: swindler.address });
    await register(between.url);
    const swapped = await deposit('--yes');

    assert.deepEqual([confirmed.code, again.code], [0, 0], confirmed.stderr + again.stderr);
    refused(swapped, 'DEPLOYMENT_MISMATCH');
    assert.match(swapped.stderr, new RegExp(`it was ${KEYS.gateway.address} before`));
  });

  it('accepts the account that has registered the origin, without a question', async () => {
    rmSync(join(cli.home, 'keys/gateway.json'));
    const account = house.view.connect(KEYS.gateway);
    const terms = { roles: ROLES_BOTH, jwksThumbprint: `0x${'00'.repeat(32)}` } as const;
    await house.view.synced(await account.updateParty({ ...terms, uri: `${between.url}/any` }));

    const { code, stderr } = await defaas(['deposit', '1', '--to', 'free']);

    assert.equal(code, 0, stderr);
  });

  it('shows once, before money moves, the contracts and the gateway’s bond', async () => {
    const [first, second] = [
      await defaas(['deposit', '1', '--to', 'free']),
      await defaas(['deposit', '2']),
    ];
    const json = await defaas(['deposit', '3', '--json']);

    assert.deepEqual([first.code, second.code, json.code], [0, 0, 0], first.stderr + second.stderr);
    const { token } = house.chain.contracts;
    assert.match(first.stderr, new RegExp(`^token +${token}\\nguardian +nobody `));
    assert.match(first.stderr, /least bond +1000 tokens\nmoney thaws +1 d; a bond 14 d\n/);
    assert.ok(!second.stderr.includes('guardian'), second.stderr);
    assert.match(
      second.stderr,
      /: bond 1000 tokens, registered 0 d ago, never slashed; all lines at it 2 of 583\.333333 \(7\/12 of the bond\): 1 %\n/,
    );
    assert.equal(json.stderr, '');
    assert.deepEqual(JSON.parse(json.stdout).coverage, {
      gateway: KEYS.gateway.address,
      bondUnits: '1000000000',
      atStakeUnits: '583333333',
      linesUnits: '5000000',
      usedPercent: 1,
      slashes: 0,
      slashedUnits: '0',
      sinceSec: house.view.view.party(KEYS.gateway.address)?.sinceSec,
    });
    const dear = await defaas(['deposit', '600']);
    assert.match(dear.stderr, /: 104 %\na lie could bring this gateway more than it loses/);
  });

  it('takes money out of a revoked set, and does nothing else with it', async () => {
    const [set] = house.trust.sets;
    assert.ok(set);
    const paid = await defaas(['deposit', '3', '--to', 'free']);
    believe({ chainId: 31337, sets: [{ ...set, status: 'revoked' }] });
    const before = await sent();

    const money = ['deposit', 'invoke', 'token', 'sponsor', 'grant', 'register', 'settle'];
    const commands = COMMANDS.filter(([name = '']) => money.includes(name));
    await each(commands, async (words) => {
      refused(await defaas([...words, '--yes']), 'DEPLOYMENT_REVOKED', words.join(' '));
    });
    assert.deepEqual(await sent(), before);
    const balance = await defaas(['balance', '--json']);
    const withdrawn = await defaas(['withdraw', '--yes', '--json']);

    assert.deepEqual([paid.code, balance.code, withdrawn.code], [0, 0, 0], withdrawn.stderr);
    const { freeUnits } = JSON.parse(balance.stdout);
    assert.equal(JSON.parse(withdrawn.stdout).withdrawnUnits, freeUnits);
  });
});
