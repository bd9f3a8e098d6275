// `[owner/]name[@version|alias]`, as every command but `init` and `register` takes a function.
import { CliError } from './cli-error.ts';

export interface FunctionName {
  /** Address or label of the owner, lower-case. */
  readonly owner: string;
  readonly name: string;
  /** A version number or an alias; `latest` by default. */
  readonly reference: string;
}

/** Parses a function's name. The owner defaults to the active account. @throws CliError USAGE */
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

/** Formats the name as in the gateway's URLs. */
export function formatFunctionName({ owner, name, reference }: FunctionName): string {
  return reference === 'latest' ? `${owner}/${name}` : `${owner}/${name}@${reference}`;
}
