// What every command demands of its words, checked before anybody is asked: URLs are URLs, names of
// functions are names, and no value is empty.
import type { Command } from 'commander';
import { SET_ID } from '../../contracts/deployments.ts';
import { CliError } from './cli-error.ts';
import type { Flags } from './context.ts';
import { parseFunctionName } from './function-name.ts';

/** Options whose value may be empty: an empty body, path or query. */
const MAY_BE_EMPTY: ReadonlySet<string> = new Set(['data', 'path', 'query']);

/** @throws CliError USAGE */
export function checkUsage(
  flags: Flags,
  command: Command,
  given: readonly unknown[],
  env: NodeJS.ProcessEnv = process.env,
): void {
  for (const [name, value] of Object.entries({ ...flags, ...command.opts() })) {
    if (value === '' && !MAY_BE_EMPTY.has(name)) {
      throw new CliError('USAGE', `${optionOf(name)} is empty, give it a value or leave it out`);
    }
  }
  checkUrl(flags.gateway, '--gateway');
  checkUrl(flags.rpc, '--rpc');
  if (flags.gateway === undefined) checkUrl(env.DEFAAS_GATEWAY || undefined, 'DEFAAS_GATEWAY');
  if (flags.rpc === undefined) {
    const [first] = (env.DEFAAS_CHAIN_RPC_URL ?? '').split(',');
    checkUrl(first || undefined, 'DEFAAS_CHAIN_RPC_URL');
  }
  checkSet(flags.set, '--set');
  for (const [index, argument] of command.registeredArguments.entries()) {
    for (const word of [given[index]].flat()) checkWord(argument.name(), word);
  }
  const { function: named } = command.opts();
  if (typeof named === 'string') parseFunctionName(named, '');
}

/** @throws CliError USAGE */
function checkWord(argument: string, word: unknown): void {
  if (word === '') throw new CliError('USAGE', `<${argument}> is empty, give it a value`);
  if (typeof word !== 'string') return;
  if (argument === 'function') parseFunctionName(word, '');
  if (argument !== 'versions') return;
  const { name, reference } = parseFunctionName(word, '');
  if (/^[1-9]\d{0,8}$/.test(reference)) return;
  throw new CliError('USAGE', `"${word}" names no version, write ${name}@<number>`);
}

/** @throws CliError USAGE it is the id of no set in any file of deployments */
export function checkSet(id: string | undefined, option: string): void {
  if (id === undefined || SET_ID.test(id)) return;
  throw new CliError('USAGE', `${option} takes the id of a set of contracts, got "${id}"`);
}

function checkUrl(url: string | undefined, what: string): void {
  if (url === undefined) return;
  if (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) return;
  const meant = /^[a-z0-9.-]+(:\d+)?(\/|$)/i.test(url) ? `http://${url}` : 'http://127.0.0.1:8080';
  throw new CliError(
    'USAGE',
    `${what} takes a URL with its scheme such as ${meant}, got "${url.slice(0, 80)}"`,
  );
}

/** `valueFile` -> `--value-file`. */
function optionOf(name: string): string {
  return `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
