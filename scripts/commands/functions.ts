// Commands that write, publish, run and call functions.
import { type Add, collect, example, TO_CLOUDS } from './add.ts';

const SOURCES = ['--sources', 'publish the text of the sources too, in the source map'] as const;

export function addFunctionCommands(add: Add): void {
  add(
    'init <folder>',
    'create a new function folder from a template',
    async () => (await import('../cli/init.ts')).init,
  ).option('--template <name>', 'hello, paid, webhook or thumbnail', 'hello');
  add(
    'dev <folder>',
    'run a function on this machine and reload it after each change',
    async () => (await import('../cli/dev.ts')).dev,
  ).option('--port <port>', 'port on 127.0.0.1; default: any free port');
  add(
    'register <folder>',
    'bundle a function, upload it to IPFS, publish a version on the chain',
    async () => (await import('../cli/register.ts')).register,
  )
    .alias('publish')
    .option(...SOURCES);
  add(
    'deploy <folder>',
    'publish a folder and run it on clouds, then let latest name it; or deploy a version that is published',
    async () => (await import('../cli/deploy.ts')).deploy,
  )
    .option(...TO_CLOUDS)
    .option(...SOURCES)
    .option('--accept-loss', 'deploy even where a call costs the operator more than it earns');
  add(
    'diff <function>',
    'show what a deploy would change, and what a call costs',
    async () => (await import('../cli/diff.ts')).diff,
  ).option(...TO_CLOUDS);
  add(
    'rollback <function>',
    'point latest at an earlier version',
    async () => (await import('../cli/rollback.ts')).rollback,
  ).option('--to <version>', 'number of the version; default: the previous one');
  add(
    'versions <function>',
    'list the versions of a function, who may call them, and where they run',
    async () => (await import('../cli/versions.ts')).versions,
  );
  add(
    'deprecate <versions...>',
    'end versions for good: nobody can call them any more',
    async () => (await import('../cli/deprecate.ts')).deprecate,
  ).addHelpText('after', example('deprecate hello@1 hello@2'));
  add(
    'destroy <function>',
    'remove a function, or one version of it, from its clouds',
    async () => (await import('../cli/destroy.ts')).destroy,
  )
    .aliases(['rm', 'delete'])
    .option('--from <clouds>', 'comma-separated: aws, google, azure, local; default: all');
  add(
    'logs [function]',
    'show what a version logged on its clouds, with places in its source',
    async () => (await import('../cli/logs.ts')).logs,
  )
    .option(
      '-f, --follow',
      'go on showing new lines until interrupted; with --json a document a line',
    )
    .option('--receipt <id>', 'only the lines of the call with this receipt')
    .option('--raw', 'show what the clouds write too, and each line as it was written')
    .option('--since <time>', 'oldest line: an age such as 90s, 15m, 2h, 1d, or a date', '1h')
    .option('--limit <count>', 'show at most this many lines, the newest', '200');
  add(
    'secret <action> <function> [key]',
    'set, list or unset a secret of a function; set reads standard input',
    async () => (await import('../cli/secret.ts')).secret,
  ).option('--value-file <path>', 'read the value from this file');
  add(
    'list',
    'list the functions of the account, and where they run',
    async () => (await import('../cli/list.ts')).list,
  ).alias('ls');
  add(
    'open <function>',
    'show the address of a function; on a terminal also in the browser',
    async () => (await import('../cli/open.ts')).open,
  );
  add(
    'invoke <function>',
    'call a function and pay for it',
    async () => (await import('../cli/invoke.ts')).invoke,
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
}
