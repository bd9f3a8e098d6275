// `defaas open <function>`: shows the function's address, and opens it in the browser if a person
// sits at a terminal.
import { spawn } from 'node:child_process';
import { functionUrl } from './address.ts';
import { openChain } from './chain.ts';
import { type Flags, type Outcome, openGateway } from './context.ts';
import { findFunction } from './owned-function.ts';

const OPENERS: Readonly<Partial<Record<NodeJS.Platform, string>>> = {
  darwin: 'open',
  win32: 'explorer.exe',
};

/** @throws CliError USAGE, FUNCTION_UNKNOWN */
export async function open(flags: Flags, target: string): Promise<Outcome> {
  const opened = await openGateway(flags, { allowRevoked: true });
  const chain = await openChain(opened);
  try {
    const { fn } = findFunction(opened, chain, target);
    const url = functionUrl(opened.connection, fn);
    if (!flags.json && process.stdout.isTTY) showInBrowser(url);
    return { document: { function: `${fn.namespace}/${fn.name}`, url }, text: url };
  } finally {
    chain.close();
    opened.close();
  }
}

/** A machine without a browser has the address on the terminal. */
function showInBrowser(url: string): void {
  const opener = OPENERS[process.platform] ?? 'xdg-open';
  spawn(opener, [url], { detached: true, stdio: 'ignore' })
    .on('error', () => {})
    .unref();
}
