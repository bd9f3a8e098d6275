// `[owner/]name[@version|alias]`, as every command but `init` and `register` takes a function.
import { CliError } from './cli-error.ts';

export interface FunctionName {
  /** An address or a label, lower-case. */
  readonly owner: string;
  readonly name: string;
  /** A version number or an alias; `latest` when none was written. */
  readonly reference: string;
}

/** Without an owner it is the active account. @throws CliError USAGE */
export function parseFunctionName(text: string, account: string): FunctionName {
  const [, owner = account, name, reference = 'latest'] =
    /^(?:([0-9a-zA-Z-]{1,63})\/)?([a-z0-9-]{1,63})(?:@([a-z0-9-]{1,63}))?$/.exec(text) ?? [];
  if (name === undefined) {
    throw new CliError(
      'USAGE',
      `"${text}" names no function, write [owner/]name[@version] with a-z, 0-9 and -`,
    );
  }
  return { owner: owner.toLowerCase(), name, reference };
}

/** As the gateway's URLs have it. */
export function formatFunctionName({ owner, name, reference }: FunctionName): string {
  return reference === 'latest' ? `${owner}/${name}` : `${owner}/${name}@${reference}`;
}
