// `defaas secret set|list|unset <function> [KEY]`: secrets of a function, which can be set but
// never read.
import { readFileSync } from 'node:fs';
import { buffer as readAll } from 'node:stream/consumers';
import { listSecrets, setSecret, unsetSecret } from '../../broker/client/secrets.ts';
import type { Session } from '../../broker/client/session.ts';
import { CliError } from './cli-error.ts';
import { manifestOf } from './clouds.ts';
import { confirmNow } from './confirm.ts';
import {
  type Flags,
  note,
  type Opened,
  type Outcome,
  openGateway,
  openSession,
} from './context.ts';
import { type FunctionName, parseFunctionName } from './function-name.ts';
import { userPath } from './house.ts';
import { formatTable } from './table.ts';

/** As the gateway takes it (`variable` in ipfs/defaas.schema.json). */
const SECRET_NAME = /^[A-Za-z][A-Za-z0-9_]{0,127}$/;

export interface SecretOptions {
  readonly valueFile?: string;
}

/**
 * The value comes from standard input or a file, never from the command line, which other processes
 * can see. One newline at its end is removed.
 * @throws SECRET_INVALID, NOT_OWNER, FUNCTION_UNKNOWN, FILE_UNREADABLE
 */
export async function secret(
  flags: Flags,
  action: string,
  target: string,
  key: string | undefined,
  options: SecretOptions,
): Promise<Outcome> {
  const run = { set, list, unset }[action];
  if (!run || (key === undefined) !== (action === 'list')) {
    throw new CliError(
      'USAGE',
      `"secret ${action}" is not complete, write secret set <function> <KEY>, secret list <function> or secret unset <function> <KEY>`,
    );
  }
  if (options.valueFile !== undefined && action !== 'set') {
    throw new CliError('USAGE', `--value-file is of secret set, leave it out with ${action}`);
  }
  if (key !== undefined && !SECRET_NAME.test(key)) {
    throw new CliError(
      'USAGE',
      `"${key}" is no name of a secret, use A-Z, a-z, 0-9 and _, at most 128`,
    );
  }
  const value = action === 'set' ? await readValue(key ?? '', options) : '';
  const opened = await openGateway(flags);
  try {
    const name = parseFunctionName(target, opened.account.address);
    if (action === 'set') await askUndeclared(flags, opened, name, key ?? '');
    const session = await openSession(opened, opened.account);
    return await run(session, name, { key: key ?? '', value });
  } finally {
    opened.close();
  }
}

/**
 * A name that the newest version does not declare is a slip, or is of the next version: a person is
 * asked, elsewhere it is noted.
 * @throws CliError NOT_CONFIRMED
 */
async function askUndeclared(
  flags: Flags,
  opened: Opened,
  name: FunctionName,
  key: string,
): Promise<void> {
  const { secrets } = await manifestOf(opened, name);
  if (secrets.includes(key)) return;
  const declared = secrets.length === 0 ? 'no secrets' : secrets.join(', ');
  const says = `${name.name}@${name.reference} declares ${declared} in defaas.json, not ${key}`;
  if (process.stdin.isTTY && process.stderr.isTTY) await confirmNow(flags, says, 'Set it?');
  else note(flags, `${says}: it is set for a version that does`);
}

interface Given {
  readonly key: string;
  readonly value: string;
}

async function set(
  session: Session,
  { owner, name }: FunctionName,
  { key, value }: Given,
): Promise<Outcome> {
  const { revision, isChanged } = await setSecret(session, { owner, name, key }, value);
  return {
    document: { name, owner, key, revision, isChanged },
    text: isChanged
      ? `${key} of ${name} is set; what runs gets it with the next defaas deploy ${name}`
      : `${key} of ${name} has this value already`,
  };
}

async function unset(
  session: Session,
  { owner, name }: FunctionName,
  { key }: Given,
): Promise<Outcome> {
  const isChanged = await unsetSecret(session, { owner, name, key });
  return {
    document: { name, owner, key, isChanged },
    text: isChanged ? `${key} of ${name} is unset` : `${key} of ${name} was not set`,
  };
}

async function list(session: Session, { owner, name }: FunctionName): Promise<Outcome> {
  const secrets = await listSecrets(session, { owner, name });
  return {
    document: { name, owner, secrets },
    text:
      secrets.length === 0
        ? `${name} has no secrets`
        : formatTable(
            ['secret', 'revision', 'set at'],
            secrets.map((one) => [one.name, one.revision, new Date(one.atMs).toISOString()]),
          ),
  };
}

/** Refuses bytes that are no text: an environment variable cannot hold them. */
async function readValue(key: string, { valueFile }: SecretOptions): Promise<string> {
  if (valueFile === undefined && process.stdin.isTTY) {
    throw new CliError(
      'USAGE',
      'the value is read from standard input: pipe it in, or name a file with --value-file',
    );
  }
  const bytes =
    valueFile === undefined ? await readAll(process.stdin) : readFileSync(userPath(valueFile));
  try {
    const value = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    return value.replace(/\r?\n$/, '');
  } catch (cause) {
    throw new CliError(
      'SECRET_INVALID',
      `the value is no UTF-8 text, on ${key}, encode it, for example by base64, and decode it in the function`,
      { cause },
    );
  }
}
