// Every command in a shell block of a page is run by a test, which this list names; and every
// command and option that a page mentions exists.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { PAGES, quotedIn } from './markdown.ts';

/** The test that runs a command, and a text of that test which does it. */
type RunBy = readonly [test: string, text: string];

const WHOLE_WAY = 'test/e2e/whole-way.test.ts';
const PAYEES = 'test/scripts/cli/payouts.test.ts';
const OPERATOR = 'test/scripts/cli/operator.test.ts';
const SETS = 'test/e2e/two-sets.test.ts';
const DEFAAS = 'npm run -s defaas -- ';
/** A command as a page has it, without its comment. */
const COMMANDS: Readonly<Record<string, RunBy>> = {
  'npm start': ['test/e2e/house.ts', "['scripts/up.ts']"],
  [`${DEFAAS}init thumbnail --template thumbnail`]: [
    WHOLE_WAY,
    "'init', 'thumbnail', '--template', 'thumbnail'",
  ],
  // The dependency is copied there, so that the test needs no network.
  'npm --prefix thumbnail install': [WHOLE_WAY, 'installDependency(house.folder)'],
  [`${DEFAAS}deploy thumbnail --to aws,google,azure`]: [
    WHOLE_WAY,
    "'deploy', 'thumbnail', '--to', 'aws,google,azure'",
  ],
  [`${DEFAAS}deposit 5`]: [WHOLE_WAY, "'deposit', '5'"],
  [`${DEFAAS}invoke thumbnail --file photo.jpg --out small.jpg`]: [
    WHOLE_WAY,
    "'--out', 'small.jpg'",
  ],
  [`${DEFAAS}receipts`]: [WHOLE_WAY, "house.json('receipts')"],
  [`${DEFAAS}settle`]: [WHOLE_WAY, "house.json('settle')"],
  [`${DEFAAS}audit`]: [WHOLE_WAY, "house.json('audit')"],
  [`${DEFAAS}payouts --account publisher`]: ['test/e2e/payees.test.ts', "'payouts'"],
  [`${DEFAAS}payouts --send --account publisher`]: [
    'test/e2e/payees.test.ts',
    "'payouts', '--send', '--account', 'publisher'",
  ],
  [`${DEFAAS}earnings --by month,function --account publisher`]: [
    'test/e2e/payees.test.ts',
    "'earnings', '--by', 'month,function'",
  ],
  [`${DEFAAS}collect --send --account publisher`]: [PAYEES, 'collect('],
  [`${DEFAAS}payouts --bar 0x... --account publisher`]: [PAYEES, 'bar: gateway'],
  [`${DEFAAS}bond 500`]: [OPERATOR, "bond(cli.flags(), '500'"],
  [`${DEFAAS}fee 2.5`]: [OPERATOR, "fee(cli.flags(), '2.5'"],
  [`${DEFAAS}rotate-key`]: ['test/e2e/payees.test.ts', "house.json('rotate-key')"],
  [`${DEFAAS}unbond 250`]: [OPERATOR, 'unbond(cli.flags(),'],
  [`${DEFAAS}leave --floats`]: ['test/e2e/payees.test.ts', "'leave', '--floats'"],
  [`${DEFAAS}withdraw --account gateway`]: [
    'test/e2e/payees.test.ts',
    "as('gateway', 'withdraw', '--yes')",
  ],
  [`${DEFAAS}deposit 20 --to free --account gateway`]: [
    'test/scripts/cli/trust-root.test.ts',
    "['deposit', '1', '--to', 'free']",
  ],
  [`${DEFAAS}bond 1000 --settler 0x... --set next`]: [SETS, "bond(at('next'), '1000', { settler"],
  [`${DEFAAS}fee 2.5 --set next`]: [SETS, "fee(at('next'), '2.5'"],
  [`${DEFAAS}deposit 20 --to free --account gateway --set next`]: [
    SETS,
    "deposit(at('next', 'gateway'), '20', { to: 'free' }",
  ],
  [`${DEFAAS}settle --set local`]: [SETS, "settle(at('local'))"],
  [`${DEFAAS}unbond 1000 --set local`]: [SETS, "unbond(at('local'), '1000'"],
  [`${DEFAAS}leave --set local`]: [SETS, "leave(at('local')"],
};
/** What contributors run: it runs the tests or changes the tree, so no test runs it. */
const RUNNERS = [
  'npm test',
  'npm run test:file -- test/scripts/launch.test.ts',
  'LONG_TESTS=1 npm run test:file -- test/adapters/peers.test.ts',
  'npm run check',
  'npm run fix',
  'npm run coverage',
  'npm run gas -- --update',
  'npm run fuzz',
  'npm run mutate -- contracts/Billing.sol',
  '.ci/run',
];

describe('commands of the documents', function () {
  this.timeout(120_000);

  it('are all run by a test, and this list has none that is on no page', () => {
    const found = new Set(PAGES.flatMap(commandsIn));

    assert.deepEqual([...found].toSorted(), [...Object.keys(COMMANDS), ...RUNNERS].toSorted());
  });

  it('are in the tests that this list names', () => {
    const missing = Object.entries(COMMANDS)
      .filter(([, [test, text]]) => !readFileSync(test, 'utf8').includes(text))
      .map(([command]) => command);

    assert.deepEqual(missing, []);
  });

  it('are commands of defaas or scripts of npm, wherever a page mentions one', async () => {
    const known = commandsOf(await help());
    const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'));
    const unknown = PAGES.flatMap((page) => {
      const texts = [...quotedIn(page), ...commandsIn(page)];
      return texts.filter((text) => {
        const [, own] = /^(?:npm run -s defaas -- |defaas )([a-z-]+)/.exec(text) ?? [];
        const [, script] = /^npm run (?:-s )?([a-z:]+)/.exec(text) ?? [];
        return (
          (own !== undefined && !known.has(own)) ||
          (script !== undefined && !Object.hasOwn(scripts, script))
        );
      });
    });

    assert.deepEqual(unknown, []);
  });

  it('have options that their command knows', async () => {
    const texts = PAGES.flatMap((page) => [...quotedIn(page), ...commandsIn(page)]);
    const general = optionsOf(await help());
    const byCommand = new Map<string, Set<string>>();
    for (const text of texts) {
      const [, command, rest = ''] =
        /^(?:npm run -s defaas -- |defaas )([a-z-]+)(.*)/.exec(text) ?? [];
      if (command === undefined || command === 'help' || command === 'up') continue;
      const used = byCommand.get(command) ?? new Set();
      for (const option of rest.match(/--[a-z-]+/g) ?? []) used.add(option);
      byCommand.set(command, used);
    }
    const unknown: string[] = [];
    for (const [command, used] of byCommand) {
      if (used.size === 0) continue;
      const own = optionsOf(await help(command));
      for (const option of used) {
        if (!own.has(option) && !general.has(option)) unknown.push(`${command} ${option}`);
      }
    }

    assert.deepEqual(unknown, []);
  });

  it('stand in the table of the README, each once, and no other', async () => {
    const readme = readFileSync('README.md', 'utf8');
    const [, table = ''] = readme.split('| to | commands |');
    const rows = [...(table.split('\n\n', 1)[0] ?? '').matchAll(/`([a-z][a-z-]*)`/g)];

    assert.deepEqual(
      rows.map(([, command = '']) => command).toSorted(),
      [...commandsOf(await help())].filter((command) => command !== 'help').toSorted(),
    );
  });
});

/** Lines of a page's `sh` blocks, without comments. */
function commandsIn(page: string): string[] {
  const blocks = readFileSync(page, 'utf8').matchAll(/^```sh\n([\s\S]*?)^```$/gm);
  return [...blocks]
    .flatMap(([, block = '']) => block.split('\n'))
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter((line) => line !== '');
}

async function help(command?: string): Promise<string> {
  const words = ['scripts/defaas.ts', 'help', ...(command === undefined ? [] : [command])];
  const { stdout } = await promisify(execFile)(process.execPath, words);
  return stdout;
}

function commandsOf(text: string): ReadonlySet<string> {
  const [, list = ''] = text.split('Commands:\n');
  return new Set([...list.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name = '']) => name));
}

function optionsOf(text: string): ReadonlySet<string> {
  return new Set(text.match(/--[a-z-]+/g) ?? []);
}
