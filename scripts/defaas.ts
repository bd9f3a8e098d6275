// `defaas <command>`: parses the command line, loads the module of the
// named command, and prints its outcome.
import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { defaultAccount } from './cli/account.ts';
import { errorLine } from './cli/cli-error.ts';
import type { Flags, Outcome } from './cli/context.ts';
import { findHome, PACKAGE_ROOT } from './cli/house.ts';

type Run = (flags: Flags, ...given: never[]) => Promise<Outcome>;

const TO_CLOUDS = [
  '--to <clouds>',
  'comma-separated: aws, google, azure, local; default: those in defaas.json',
] as const;

const DRY_RUN = ['--dry-run', 'simulate on the node, send nothing'] as const;

/** Set by a command that printed its result and yet failed. */
let exitCode = 0;

process.exitCode = await main(process.argv.slice(2));

/**
 * Returns the exit code: 0 success, 1 failure, 2 wrong usage, 3 the called function answered 400 or
 * above.
 */
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
  exitCode = failure.exitCode ?? 1;
}

/** Units are bigint inside and decimal text in JSON. */
function unitsAsText(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}

/** Writes every byte. A full pipe gives EAGAIN; the write is then repeated. */
function writeAll(output: string | Uint8Array): void {
  const bytes = typeof output === 'string' ? Buffer.from(output) : output;
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(1, bytes, written);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : '';
      // The reader has closed the pipe, as `| head` does.
      if (code === 'EPIPE') return;
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

function explainUsage(error: CommanderError): number {
  // `--help` and `--version` also end with this error.
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
    .option(
      '--account <name>',
      'account whose key to use; default: that of `account use`, else user',
    )
    .option('--gateway <url>', 'gateway to use (default: DEFAAS_GATEWAY, else the running house)')
    .option('--rpc <url>', 'RPC of the chain (DEFAAS_CHAIN_RPC_URL)')
    .option('--deployment <file>', 'file of the contracts to trust (DEFAAS_DEPLOYMENT)')
    .option(
      '--set <id>',
      'set of contracts in that file; default: where the account has lanes, else the current set',
    )
    .option('--yes', 'answer yes to every question', false)
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError(true);

  /** A command's module is loaded only when the command runs, so `--version` stays fast. */
  const add = (form: string, about: string, load: () => Promise<Run>) =>
    program
      .command(form)
      .description(about)
      .exitOverride()
      .configureOutput({ outputError: () => {} })
      .action(async (...given: unknown[]) => {
        // Commander passes the options and the command itself last.
        const options = program.opts();
        const flags: Flags = {
          ...options,
          json: options.json === true,
          account: options.account ?? defaultAccount(findHome()),
        };
        const { checkUsage } = await import('./cli/check-usage.ts');
        checkUsage(flags, given.at(-1) as Command, given);
        const run = await load();
        done(await run(flags, ...(given.slice(0, -1) as never[])), flags);
      });

  program
    .command('up')
    .description('start the whole house on this machine, as npm start does')
    .allowUnknownOption()
    .allowExcessArguments()
    .argument('[options...]')
    .action(async (given: string[]) => {
      process.argv = [process.execPath, join(PACKAGE_ROOT, 'scripts/up.ts'), ...given];
      await import('./up.ts');
    });
  add(
    'init <folder>',
    'create a new function folder from a template',
    async () => (await import('./cli/init.ts')).init,
  ).option('--template <name>', 'hello or thumbnail', 'hello');
  add(
    'dev <folder>',
    'run a function on this machine and reload it after each change',
    async () => (await import('./cli/dev.ts')).dev,
  ).option('--port <port>', 'port on 127.0.0.1; default: any free port');
  add(
    'register <folder>',
    'bundle a function, upload it to IPFS, publish a version on the chain',
    async () => (await import('./cli/register.ts')).register,
  ).alias('publish');
  add(
    'deploy <folder>',
    'publish a folder and run it on clouds, then let latest name it; or deploy a version that is published',
    async () => (await import('./cli/deploy.ts')).deploy,
  )
    .option(...TO_CLOUDS)
    .option('--accept-loss', 'deploy even where a call costs the operator more than it earns');
  add(
    'diff <function>',
    'show what a deploy would change, and what a call costs',
    async () => (await import('./cli/diff.ts')).diff,
  ).option(...TO_CLOUDS);
  add(
    'rollback <function>',
    'point latest at an earlier version',
    async () => (await import('./cli/rollback.ts')).rollback,
  ).option('--to <version>', 'number of the version; default: the previous one');
  add(
    'versions <function>',
    'list the versions of a function, who may call them, and where they run',
    async () => (await import('./cli/versions.ts')).versions,
  );
  add(
    'deprecate <versions...>',
    'end versions for good: nobody can call them any more',
    async () => (await import('./cli/deprecate.ts')).deprecate,
  ).addHelpText('after', example('deprecate hello@1 hello@2'));
  add(
    'destroy <function>',
    'remove a function, or one version of it, from its clouds',
    async () => (await import('./cli/destroy.ts')).destroy,
  )
    .aliases(['rm', 'delete'])
    .option('--from <clouds>', 'comma-separated: aws, google, azure, local; default: all');
  add(
    'logs <function>',
    'show what a version logged on its clouds',
    async () => (await import('./cli/logs.ts')).logs,
  )
    .option('--since <time>', 'oldest line: an age such as 90s, 15m, 2h, 1d, or a date', '1h')
    .option('--limit <count>', 'show at most this many lines, the newest', '200');
  add(
    'secret <action> <function> [key]',
    'set, list or unset a secret of a function; set reads standard input',
    async () => (await import('./cli/secret.ts')).secret,
  ).option('--value-file <path>', 'read the value from this file');
  add(
    'list',
    'list the functions of the account, and where they run',
    async () => (await import('./cli/list.ts')).list,
  ).alias('ls');
  add(
    'invoke <function>',
    'call a function and pay for it',
    async () => (await import('./cli/invoke.ts')).invoke,
  )
    .option('--file <path>', 'send this file as the body; - is standard input')
    .option('--data <text>', 'send this text as the body')
    .option('--header <line>', 'a request header `name: value`; may be repeated', collect, [])
    .option('--method <method>', 'HTTP method; default POST with a body, else GET')
    .option('--path <path>', 'path below the function')
    .option('--query <query>', 'query such as width=100&height=80')
    .option('--out <path>', 'write the answer to this file')
    .option('--max <tokens>', 'the most that the call may cost, in whole tokens')
    .option('--route <words>', 'comma-separated: cheapest or fastest, clouds, not:<region>');
  add(
    'account <action> [name]',
    'new, list, import, export, use, or fund (local chain) a key of this machine',
    async () => (await import('./cli/accounts.ts')).account,
  )
    .option('--key-file <path>', 'import: read the private key from this file, else standard input')
    .addHelpText('after', example('account new alice'));
  add(
    'deposit <tokens>',
    'set money aside for calls at the gateway',
    async () => (await import('./cli/deposit.ts')).deposit,
  )
    .option('--units', 'the amount is in base units')
    .option('--to <where>', 'lane: ready for calls; free: deposit only', 'lane')
    .option('--daily <tokens>', 'the most that the lane may spend per UTC day; none: no limit');
  add(
    'balance',
    'show what is free, set aside, served and settled',
    async () => (await import('./cli/balance.ts')).balance,
  );
  add(
    'withdraw [amount]',
    'withdraw free money to the wallet; money set aside must thaw first',
    async () => (await import('./cli/withdraw.ts')).withdraw,
  )
    .option('--units', 'the amount is in base units')
    .option('--from <gateway>', 'account of the gateway, if money is set aside at several')
    .option('--cancel', 'stop the running thaw: the money serves calls again')
    .addHelpText('after', example('withdraw 2.5'));
  add(
    'migrate',
    'move money to the contracts that replace older ones; run again after the thaw',
    async () => (await import('./cli/migrate.ts')).migrate,
  ).requiredOption('--to <set>', 'id of the new set in the deployment file');
  add(
    'sponsor <function>',
    'show or set what the publisher pays for its callers per day',
    async () => (await import('./cli/sponsor.ts')).sponsor,
  )
    .option('--daily <tokens>', 'the most to pay per UTC day')
    .option('--days <count>', 'number of days, 2 by default; watch signs for each day')
    .option('--renew', 'renew: watch signs the same number of days again before they end')
    .option('--stop', 'pay nothing more')
    .option('--deposit <tokens>', 'set this much more aside to pay from')
    .addHelpText('after', example('sponsor hello --daily 0.5 --renew --deposit 5'));
  add(
    'estimate <function>',
    'estimate what calls cost, and how many a deposit buys',
    async () => (await import('./cli/estimate.ts')).estimate,
  )
    .option('--ms <typical>', 'how long a call takes; default 100, at most its timeout')
    .option('--calls <count>', 'show the price of this many calls', '1000')
    .option('--deposit <tokens>', 'show how many calls this deposit buys', '1');
  add(
    'grant <function> <address>',
    'let an account use a function that is not public',
    async () => (await import('./cli/grant.ts')).grant,
  )
    .option(
      '--expires <when>',
      'number of days, or the last day such as 2027-01-31; default 365 days',
    )
    .option('--scopes <scopes>', 'comma-separated: invoke, subscribe, logs', 'invoke');
  add(
    'grants <function>',
    'list who may use a function that is not public, and until when',
    async () => (await import('./cli/grants.ts')).grants,
  );
  add(
    'revoke <function> [address]',
    'revoke a grant',
    async () => (await import('./cli/revoke.ts')).revoke,
  ).option('--all', 'all grants of the function at once');
  add(
    'token',
    'print an access token for curl and scripts, valid for 10 minutes, or set up a service account',
    async () => (await import('./cli/token.ts')).token,
  )
    .option('--allow <tokens>', 'the most that it may cost in total, 0.1 by default')
    .option('--function <function>', 'the only function that it may call')
    .option('--control', 'a token of the account for the control routes; it can spend nothing')
    .option(
      '--service <id>',
      'register a service account instead: a program with its own key that gets its own tokens',
    )
    .option('--daily <tokens>', 'the most that the service may spend per UTC day, 0.1 by default')
    .option('--days <count>', 'number of days, 30 by default; watch signs for each day')
    .option('--renew', 'renew: watch signs the same number of days again before they end')
    .option('--stop', 'stop the service: it can spend nothing more')
    .addHelpText('after', example('token --service ci --daily 0.5 --function hello'));
  add(
    'receipts',
    'list what was called, where it ran, and what it cost',
    async () => (await import('./cli/receipts.ts')).receipts,
  ).option('--limit <count>', 'show only this many, the newest');
  add(
    'settle',
    'settle everything in one transaction (operator)',
    async () => (await import('./cli/settle.ts')).settle,
  );
  add(
    'payouts',
    'show what gateways owe the account; --send pays it to the wallet',
    async () => (await import('./cli/payouts.ts')).payouts,
  )
    .option('--send', 'send what is credited to the wallet of the account')
    .option('--audit', 'also add up the receipts of all batches')
    .option(
      '--bar <gateway>',
      'bar all deployments of the account at that gateway; it cannot be undone',
    )
    .option(...DRY_RUN)
    .addHelpText('after', example('payouts --send --account publisher'));
  add(
    'earnings',
    'show what the account has earned, by function, version, day, payer or gateway',
    async () => (await import('./cli/earnings.ts')).earnings,
  )
    .option(
      '--by <groups>',
      'comma-separated: function, version, role, day, month, payer, gateway',
      'function,role',
    )
    .option('--since <day>', 'calls from this day on, UTC, such as 2026-12-01')
    .addHelpText('after', example('earnings --by month,function --account publisher'));
  add(
    'collect',
    'credit what a gateway has signed for and no batch has paid, from its float',
    async () => (await import('./cli/payouts.ts')).collect,
  )
    .option('--send', 'also send it to the wallet of the account')
    .option(...DRY_RUN)
    .addHelpText('after', example('collect --send --account publisher'));
  add(
    'bond <tokens>',
    'add tokens of the wallet to the bond of the gateway (operator)',
    async () => (await import('./cli/bond.ts')).bond,
  )
    .option('--units', 'the amount is in base units')
    .option(
      '--settler <address>',
      'account that settles for the gateway from now on, with these contracts',
    )
    .option(...DRY_RUN)
    .addHelpText('after', example('bond 500'));
  add(
    'unbond <tokens>',
    'start to take this amount out of the bond; 0 cancels it (operator)',
    async () => (await import('./cli/bond.ts')).unbond,
  )
    .option('--units', 'the amount is in base units')
    .option(...DRY_RUN)
    .addHelpText('after', example('unbond 250'));
  add(
    'leave',
    'move the unbonded amount to free money, ready for withdraw (operator)',
    async () => (await import('./cli/bond.ts')).leave,
  )
    .option('--floats', 'also take back what is set aside for payees; it thaws first')
    .option(...DRY_RUN)
    .addHelpText('after', example('leave --floats'));
  add(
    'fee [percent]',
    'announce the share of each price that the gateway keeps, or show it (operator)',
    async () => (await import('./cli/fee.ts')).fee,
  )
    .option(...DRY_RUN)
    .addHelpText('after', example('fee 2.5'));
  add(
    'rotate-key',
    'replace the key that signs for the gateway, and retire the old one (operator)',
    async () => (await import('./cli/rotate-key.ts')).rotateKey,
  )
    .option('--stolen', 'somebody else has the old key: retire it first')
    .option('--key-file <path>', 'where the gateway reads its key (DEFAAS_KEYS_OPERATOR_FILE)')
    .option(...DRY_RUN)
    .addHelpText('after', example('rotate-key'));
  add(
    'audit',
    'recompute every bill from the chain and IPFS alone',
    async () => (await import('./cli/audit.ts')).audit,
  )
    .option('--evidence <folder>', 'write a file for each finding that the chain would punish')
    .addHelpText('after', example('audit --evidence found'));
  add(
    'watch',
    'check what gateways settle, prove frauds, and sign the daily vouchers of mandated lanes',
    async () => (await import('./cli/watch.ts')).watch,
  )
    .option('--auto', 'demand withheld receipts; each answered demand costs the pledge')
    .option('--once', 'check once and exit, for cron')
    .option('--all', 'check the lanes of all payers, as far as public data allows')
    .option('--every <seconds>', 'time between two checks; default 300')
    .option(
      '--patience <minutes>',
      'time after which a missing batch counts as withheld; default 10',
    )
    .option(...DRY_RUN)
    .addHelpText('after', example('watch --once --auto'));
  add(
    'demand <receipt...>',
    'make a gateway show a settled receipt, named by its id, or by gateway, batch, claim and index',
    async () => (await import('./cli/demand.ts')).demand,
  )
    .option(...DRY_RUN)
    .addHelpText('after', example('demand 0x9965507d1a55bcc2695c58ba16fb37d819b0a4dc 12 0 3'));
  add(
    'prove <file>',
    'send the evidence of a fraud, if the chain confirms it',
    async () => (await import('./cli/prove.ts')).prove,
  )
    .option(...DRY_RUN)
    .addHelpText('after', example('prove found/overcharge-0x1f.json'));
  add(
    'expire <demand>',
    'collect an unanswered demand, by its id, or all of them',
    async () => (await import('./cli/expire.ts')).expire,
  )
    .option(...DRY_RUN)
    .addHelpText('after', example('expire all'));
  add(
    'doctor',
    'check everything and say what is wrong',
    async () => (await import('./cli/doctor.ts')).doctor,
  ).option('--fix', 'remove orphans from the clouds and redeploy what is missing (operator)');
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
