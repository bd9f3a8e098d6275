// Errors of the command line, printed on stderr as `CODE: what, on what, what to do`.

/**
 * Errors of the command line itself. Those of the gateway, the chain and the bundler have a `code`
 * too and are shown the same way.
 */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code: string;

  constructor(code: string, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }
}

/** Longest printed line, characters. */
const MAX_LINE_LENGTH = 1000;

/** Formats any error as one line. A foreign error gets the code INTERNAL and keeps its message. */
export function errorLine(error: unknown): string {
  const { code, message } = describeError(error);
  return `${code}: ${message}`.replaceAll(/\s*\n\s*/g, ' ').slice(0, MAX_LINE_LENGTH);
}

/** Code and message of any error. Describing the result again changes nothing. */
export function describeError(error: unknown): { code: string; message: string } {
  if (!(error instanceof Error)) return { code: 'INTERNAL', message: String(error) };
  const { message } = error;
  const code = 'code' in error ? String(error.code) : '';
  if (
    /^[A-Z][A-Z0-9]+(_[A-Z0-9]+)+$|^(USAGE|OVERLOADED|INTERNAL)$/.test(code) &&
    !code.startsWith('ERR_')
  ) {
    return { code, message };
  }
  if (['EACCES', 'ENOENT', 'EISDIR', 'ENOTDIR', 'EROFS', 'ENOSPC', 'EPERM'].includes(code)) {
    return { code: 'FILE_UNREADABLE', message: `${message}, check the path` };
  }
  if (code === 'ERR_SQLITE_ERROR') {
    const what = 'the store cli.sqlite in DEFAAS_HOME could not be read or written';
    const next = 'look at the disk, or restore the file from a backup';
    return { code: 'FILE_UNREADABLE', message: `${what} (${message}), ${next}` };
  }
  return { code: 'INTERNAL', message: `${message}, report it` };
}
