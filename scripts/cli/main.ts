// `defaas <command>`: parses the line, loads the one command that it names, prints what comes of
// it.
import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { errorLine } from './cli-error.ts';
import type { Flags, Outcome } from './context.ts';
import { PACKAGE_ROOT } from './house.ts';

type Run = (flags: Flags, ...given: never[]) => Promise<Outcome>;

const TO_CLOUDS = [
  '--to <clouds>',
  'aws, google, azure, local, with commas; default: those of defaas.json',
] as const;

const DRY_RUN = ['--dry-run', 'try it out on the node and send nothing'] as const;

/** Set by a command that printed what it has, and yet is not done. */
let exitCode = 0;

process.exitCode = await main(process.argv.slice(2));

/** 0 done, 1 not done, 2 called wrongly. */
async function main(words: readonly string[]): Promise<number> {
  const program = createProgram((outcome, flags) => print(outcome, flags));
  try {
    await program.parseAsync(words, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return explainUsage(error);
    const line = errorLine(error);
    process.stderr.write(`${line}\n`);
    return line.startsWith('USAGE: ') ? 2 : 1;
  }
}

function print({ document, text, bytes, failure }: Outcome, flags: Flags): void {
  if (flags.json) writeAll(`${JSON.stringify(document, unitsAsText)}\n`);
  else if (bytes) writeAll(bytes);
  else if (text) writeAll(`${text}\n`);
  if (!failure) return;
  process.stderr.write(`${errorLine(Object.assign(new Error(failure.message), failure))}\n`);
  exitCode = 1;
}

/** Units are bigint inside and decimal text in JSON. */
function unitsAsText(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}

/** To the last byte, also into a pipe that is read slowly: then the kernel says EAGAIN. */
function writeAll(output: string | Uint8Array): void {
  const bytes = typeof output === 'string' ? Buffer.from(output) : output;
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(1, bytes, written);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : '';
      // The reader is gone, as with `| head`: nobody misses the rest.
      if (code === 'EPIPE') return;
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

function explainUsage(error: CommanderError): number {
  // `--help` and `--version` end this way too.
  if (error.exitCode === 0) return 0;
  if (error.code === 'commander.help') return 2;
  const why = error.message.replace(/^error: /, '');
  process.stderr.write(`USAGE: ${why}, on the command line, see defaas help\n`);
  return 2;
}

function createProgram(done: (outcome: Outcome, flags: Flags) => void): Command {
  const program = new Command('defaas')
    .description('functions on any cloud, paid by the call, every bill auditable')
    .version(version(), '--version', 'print the version')
    .option('--json', 'print one JSON document on stdout and nothing else', false)
    .option('--account <role>', 'whose key to use: a file in $DEFAAS_HOME/keys', 'user')
    .option('--gateway <url>', 'gateway to talk to (DEFAAS_GATEWAY, else the house that is up)')
    .option('--rpc <url>', 'RPC of the chain (DEFAAS_CHAIN_RPC_URL)')
    .option('--deployment <file>', 'which contracts to believe (DEFAAS_DEPLOYMENT)')
    .option(
      '--set <id>',
      'which of the contracts in that file; default: where the account has lanes, else the current',
    )
    .option('--yes', 'confirm what would be asked for on a terminal', false)
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError(true);

  /** The file of a command is loaded when the command is called, so `--version` stays quick. */
  const add = (form: string, about: string, load: () => Promise<Run>) =>
    program
      .command(form)
      .description(about)
      .exitOverride()
      .configureOutput({ outputError: () => {} })
      .action(async (...given: unknown[]) => {
        // Commander ends with the options and the command itself.
        const flags: Flags = program.opts();
        const run = await load();
        done(await run(flags, ...(given.slice(0, -1) as never[])), flags);
      });

  program
    .command('up')
    .description('bring the whole house up on this machine, as npm start does')
    .allowUnknownOption()
    .allowExcessArguments()
    .argument('[options...]')
    .action(async (given: string[]) => {
      process.argv = [process.execPath, join(PACKAGE_ROOT, 'scripts/up.ts'), ...given];
      await import('../up.ts');
    });
  add(
    'init <folder>',
    'write a new function folder',
    async () => (await import('./init.ts')).init,
  ).option('--template <name>', 'hello or thumbnail', 'hello');
  add(
    'dev <folder>',
    'run a function here while it is written, anew after each change',
    async () => (await import('./dev.ts')).dev,
  ).option('--port <port>', 'of 127.0.0.1; default: any that is free');
  add(
    'register <folder>',
    'bundle -> IPFS -> version on the chain',
    async () => (await import('./register.ts')).register,
  );
  add(
    'deploy <function>',
    'show what changes, then run a version on clouds',
    async () => (await import('./deploy.ts')).deploy,
  )
    .option(...TO_CLOUDS)
    .option('--accept-loss', 'deploy also where a call costs more than it brings');
  add(
    'diff <function>',
    'what a deploy would change, and what a call costs',
    async () => (await import('./diff.ts')).diff,
  ).option(...TO_CLOUDS);
  add(
    'rollback <function>',
    'point latest at an earlier version',
    async () => (await import('./rollback.ts')).rollback,
  ).option('--to <version>', 'number of the version; default: the one before');
  add(
    'destroy <function>',
    'take a function, or one version of it, off its clouds',
    async () => (await import('./destroy.ts')).destroy,
  ).option('--from <clouds>', 'aws, google, azure, local, with commas; default: all');
  add(
    'logs <function>',
    'what a version wrote on its clouds',
    async () => (await import('./logs.ts')).logs,
  )
    .option('--since <time>', '90s, 15m, 2h, 1d ago, or a date', '1h')
    .option('--limit <count>', 'at most so many lines, the newest', '200');
  add(
    'secret <action> <function> [key]',
    'set, list or unset what only the function may see; set reads standard input',
    async () => (await import('./secret.ts')).secret,
  ).option('--value-file <path>', 'read the value from this file');
  add(
    'list',
    'functions of the account, and where they run',
    async () => (await import('./list.ts')).list,
  );
  add(
    'invoke <function>',
    'call a function and pay for it',
    async () => (await import('./invoke.ts')).invoke,
  )
    .option('--file <path>', 'send this file as the body; - is standard input')
    .option('--data <text>', 'send this text as the body')
    .option('--header <line>', 'a request header `name: value`; may be repeated', collect, [])
    .option('--method <method>', 'HTTP method; default POST with a body, else GET')
    .option('--path <path>', 'path below the function')
    .option('--query <query>', 'query such as width=100&height=80')
    .option('--out <path>', 'write the answer to this file')
    .option('--max <tokens>', 'the most that the call may cost, in whole tokens')
    .option('--route <words>', 'cheapest or fastest; clouds; not:<region>; with commas');
  add(
    'deposit <tokens>',
    'set money aside for calls at the gateway',
    async () => (await import('./deposit.ts')).deposit,
  )
    .option('--units', 'the amount is in base units')
    .option('--to <where>', 'lane: ready for calls; free: only deposited', 'lane')
    .option('--daily <tokens>', 'the most that the lane may spend per UTC day; none: no limit');
  add(
    'balance',
    'what is free, set aside, served and settled',
    async () => (await import('./balance.ts')).balance,
  );
  add(
    'withdraw [amount]',
    'free money to the wallet at once; what is set aside thaws first',
    async () => (await import('./withdraw.ts')).withdraw,
  )
    .option('--units', 'the amount is in base units')
    .option('--from <gateway>', 'its account, where money is set aside at several gateways')
    .addHelpText('after', example('withdraw 2.5'));
  add(
    'migrate',
    'move money to the contracts that take the place of older ones; run again after the thaw',
    async () => (await import('./migrate.ts')).migrate,
  ).requiredOption('--to <set>', 'id of the new set in the file of deployments');
  add(
    'sponsor <function>',
    'show or set what the publisher pays of its callers per day',
    async () => (await import('./sponsor.ts')).sponsor,
  )
    .option('--daily <tokens>', 'at most so much per UTC day')
    .option('--days <count>', 'for so many days, 2 by default; watch signs for each')
    .option('--renew', 'go on: watch signs for as many days more before they end')
    .option('--stop', 'pay nothing more')
    .option('--deposit <tokens>', 'set so much more aside to pay from')
    .addHelpText('after', example('sponsor hello --daily 0.5 --renew --deposit 5'));
  add(
    'estimate <function>',
    'what calls will cost, and how many a deposit buys',
    async () => (await import('./estimate.ts')).estimate,
  )
    .option('--ms <typical>', 'how long a call takes; default 100, at most its timeout')
    .option('--calls <count>', 'price of so many calls', '1000')
    .option('--deposit <tokens>', 'how many calls this buys', '1');
  add(
    'grant <function> <address>',
    'let an account use a function that is not public',
    async () => (await import('./grant.ts')).grant,
  )
    .option('--expires <when>', 'days, or the last day such as 2027-01-31; default 365 days')
    .option('--scopes <scopes>', 'invoke, subscribe, logs, with commas', 'invoke');
  add(
    'revoke <function> [address]',
    'take a grant back',
    async () => (await import('./revoke.ts')).revoke,
  ).option('--all', 'all grants of the function at once');
  add(
    'token',
    'an access token for curl and scripts, good for 10 minutes, or a service account',
    async () => (await import('./token.ts')).token,
  )
    .option('--allow <tokens>', 'what it may cost in all, 0.1 by default')
    .option('--function <function>', 'the only function that it may call')
    .option('--control', 'of the account, for the control routes; it spends nothing')
    .option('--service <id>', 'no token, but a program with a key of its own that gets its tokens')
    .option('--daily <tokens>', 'what the service may spend per UTC day, 0.1 by default')
    .option('--days <count>', 'for so many days, 30 by default; watch signs for each')
    .option('--renew', 'go on: watch signs for as many days more before they end')
    .option('--stop', 'the service may spend nothing more')
    .addHelpText('after', example('token --service ci --daily 0.5 --function hello'));
  add(
    'receipts',
    'what was called, where it ran, what it cost',
    async () => (await import('./receipts.ts')).receipts,
  ).option('--limit <count>', 'the newest so many');
  add(
    'settle',
    'settle everything in one transaction (operator)',
    async () => (await import('./settle.ts')).settle,
  );
  add(
    'payouts',
    'what gateways owe the account; --send has it sent to its wallet',
    async () => (await import('./payouts.ts')).payouts,
  )
    .option('--send', 'send what is credited to the wallet of the account')
    .option('--audit', 'sum up the receipts of all batches, too')
    .option('--bar <gateway>', 'bar what that gateway runs of the functions of the account')
    .option(...DRY_RUN)
    .addHelpText('after', example('payouts --send --account publisher'));
  add(
    'collect',
    'have what a gateway signed for and no batch paid credited from its float',
    async () => (await import('./payouts.ts')).collect,
  )
    .option('--send', 'send it to the wallet of the account too')
    .option(...DRY_RUN)
    .addHelpText('after', example('collect --send --account publisher'));
  add(
    'bond <tokens>',
    'add tokens of the wallet to the bond of the gateway (operator)',
    async () => (await import('./bond.ts')).bond,
  )
    .option('--units', 'the amount is in base units')
    .option('--settler <address>', 'have this account settle, with these contracts')
    .option(...DRY_RUN)
    .addHelpText('after', example('bond 500'));
  add(
    'unbond <tokens>',
    'start to take so much of the bond out; 0 cancels it (operator)',
    async () => (await import('./bond.ts')).unbond,
  )
    .option('--units', 'the amount is in base units')
    .option(...DRY_RUN)
    .addHelpText('after', example('unbond 250'));
  add(
    'leave',
    'move what is unbonded to free money, from where withdraw takes it (operator)',
    async () => (await import('./bond.ts')).leave,
  )
    .option('--floats', 'take back what is set aside for payees too; it thaws first')
    .option(...DRY_RUN)
    .addHelpText('after', example('leave --floats'));
  add(
    'fee [percent]',
    'announce what the gateway keeps of every price; without one show it (operator)',
    async () => (await import('./fee.ts')).fee,
  )
    .option(...DRY_RUN)
    .addHelpText('after', example('fee 2.5'));
  add(
    'rotate-key',
    'have another key sign for the gateway, and retire the one before (operator)',
    async () => (await import('./rotate-key.ts')).rotateKey,
  )
    .option('--stolen', 'somebody else has the old key: retire it first')
    .option('--key-file <path>', 'where the gateway reads its key (DEFAAS_KEYS_OPERATOR_FILE)')
    .option(...DRY_RUN)
    .addHelpText('after', example('rotate-key'));
  add(
    'audit',
    'recompute every bill from chain and IPFS alone',
    async () => (await import('./audit.ts')).audit,
  )
    .option('--evidence <folder>', 'write a file for each finding that the chain would punish')
    .addHelpText('after', example('audit --evidence found'));
  add(
    'watch',
    'hold gateways to what they showed, prove what is wrong, sign each day for what others spend',
    async () => (await import('./watch.ts')).watch,
  )
    .option('--auto', 'demand what is withheld; an answer costs the pledge')
    .option('--once', 'look once and end, as cron wants it')
    .option('--all', 'the lanes of everybody, as far as public data goes')
    .option('--every <seconds>', 'time between two looks; default 300')
    .option('--patience <minutes>', 'time for a batch to be shown; default 10')
    .option(...DRY_RUN)
    .addHelpText('after', example('watch --once --auto'));
  add(
    'demand <receipt...>',
    'make a gateway show a settled receipt: its id, or gateway, batch, claim and number',
    async () => (await import('./demand.ts')).demand,
  )
    .option(...DRY_RUN)
    .addHelpText('after', example('demand 0x9965507d1a55bcc2695c58ba16fb37d819b0a4dc 12 0 3'));
  add(
    'prove <file>',
    'send the evidence of a fraud, once the chain says that it is one',
    async () => (await import('./prove.ts')).prove,
  )
    .option(...DRY_RUN)
    .addHelpText('after', example('prove found/overcharge-0x1f.json'));
  add(
    'expire <demand>',
    'collect what a demand brings that was not answered: its id, or all',
    async () => (await import('./expire.ts')).expire,
  )
    .option(...DRY_RUN)
    .addHelpText('after', example('expire all'));
  add(
    'doctor',
    'look at everything and say what is wrong',
    async () => (await import('./doctor.ts')).doctor,
  ).option('--fix', 'remove orphans from the clouds and deploy again what is lost (operator)');
  return program;
}

function example(words: string): string {
  return `\nExample: defaas ${words}`;
}

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

function version(): string {
  return JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')).version;
}
