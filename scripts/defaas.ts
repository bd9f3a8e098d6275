// `defaas <command>`: parses the command line, loads the module of the
// named command, and prints its outcome.
import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { defaultAccount } from './cli/account.ts';
import { errorLine } from './cli/cli-error.ts';
import type { Flags, Outcome } from './cli/context.ts';
import { findHome, PACKAGE_ROOT } from './cli/house.ts';
import { asTyped, showError, typedForm } from './cli/typed.ts';
import type { Add } from './commands/add.ts';
import { addFunctionCommands } from './commands/functions.ts';
import { addGatewayCommands } from './commands/gateways.ts';
import { addMoneyCommands } from './commands/money.ts';

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
    showError(line);
    return line.startsWith('USAGE: ') ? 2 : 1;
  }
}

function print({ document, text, bytes, failure }: Outcome, flags: Flags): void {
  // A command that wrote its results as they came has no document.
  if (flags.json && document !== undefined) writeAll(`${JSON.stringify(document, unitsAsText)}\n`);
  else if (bytes) writeAll(bytes);
  else if (text) writeAll(`${asTyped(text)}\n`);
  if (!failure) return;
  showError(errorLine(Object.assign(new Error(failure.message), failure)));
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
  showError(`USAGE: ${why}, on the command line, see defaas help`);
  return 2;
}

function createProgram(done: (outcome: Outcome, flags: Flags) => void): Command {
  const program = new Command(typedForm(process.env))
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
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError(true);

  /** A command's module is loaded only when the command runs, so `--version` stays fast. */
  const add: Add = (form, about, load) =>
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
  addFunctionCommands(add);
  addMoneyCommands(add);
  addGatewayCommands(add);
  return program;
}

function version(): string {
  return JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8')).version;
}
