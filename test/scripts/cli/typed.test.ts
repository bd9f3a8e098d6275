// Hints that can be typed as they stand, however the command was called.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { asTyped, showError, typedForm } from '../../../scripts/cli/typed.ts';

const SCRIPT = { npm_lifecycle_event: 'defaas', npm_package_name: 'defaas' };
/** As npm 11 sets them; older ones set no quotes. */
const NPX = { npm_lifecycle_event: 'npx', npm_lifecycle_script: "'defaas'" };
/** `defaas <word>` in a text, not in a comment, as `asTyped` finds it. */
const HINT = /(?<![\w./-]|npx )defaas ([a-z][a-z-]*)/g;

const run = promisify(execFile);
const defaas = async (words: readonly string[], env: Record<string, string>) => {
  const { stdout, stderr } = await run(process.execPath, ['scripts/defaas.ts', ...words], {
    env: { PATH: process.env.PATH, ...env },
  }).catch((error) => error);
  return { stdout, stderr };
};

describe('the command as it was typed', function () {
  this.timeout(60_000);

  it('is told from what npm sets', () => {
    const forms = [
      SCRIPT,
      { ...SCRIPT, npm_lifecycle_event: 'start' },
      NPX,
      { ...NPX, npm_lifecycle_script: 'defaas' },
      {},
      // In a script of another package, in a script of ours that is not the command, in `npx mocha`.
      { npm_lifecycle_event: 'defaas', npm_package_name: 'other' },
      { npm_lifecycle_event: 'test', npm_package_name: 'defaas' },
      { npm_lifecycle_event: 'npx', npm_lifecycle_script: "'mocha'" },
    ].map((env) => typedForm(env));

    const script = 'npm run -s defaas --';
    assert.deepEqual(forms, [
      script,
      script,
      'npx defaas',
      'npx defaas',
      'defaas',
      'defaas',
      'defaas',
      'defaas',
    ]);
  });

  it('replaces the command of a hint, and nothing else', () => {
    const text = 'run defaas deposit, see /.well-known/defaas or npx defaas list (defaas watch)';

    assert.equal(
      asTyped(text, 'npx defaas'),
      'run npx defaas deposit, see /.well-known/defaas or npx defaas list (npx defaas watch)',
    );
    assert.equal(asTyped(text, 'defaas'), text);
  });

  it('stands in errors, examples and usage', async () => {
    const [unknown, help, plain] = await Promise.all([
      defaas(['nothing'], NPX),
      defaas(['help', 'deprecate'], SCRIPT),
      defaas(['nothing'], {}),
    ]);

    assert.match(unknown.stderr, /see npx defaas help\n$/);
    assert.match(help.stdout, /^Usage: npm run -s defaas -- deprecate /);
    assert.match(help.stdout, /Example: npm run -s defaas -- deprecate hello@1/);
    assert.match(plain.stderr, /, see defaas help\n$/);
  });

  it('is a command of ours in every text of the product', async () => {
    const { stdout } = await defaas(['help'], {});
    const [, list = ''] = stdout.split('Commands:\n');
    const known = new Set([...list.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name]) => name));
    const unknown = globSync(
      '{broker,adapters,ipfs,contracts,scripts/cli,scripts/commands}/**/*.ts',
    )
      .flatMap((file) => readFileSync(file, 'utf8').split('\n'))
      .filter((line) => !/^\s*(\/\/|\*|\/\*)/.test(line))
      .flatMap((line) => [...line.matchAll(HINT)].map(([, name = '']) => name))
      .filter((name) => !known.has(name));

    assert.ok(known.size > 30);
    assert.deepEqual(unknown, []);
  });

  it('has help with the global flags for every command', async () => {
    const { stdout } = await defaas(['help'], {});
    const [, list = ''] = stdout.split('Commands:\n');
    const names = [...list.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name = '']) => name);
    const lacking: string[] = [];
    for (const name of names.filter((one) => one !== 'help')) {
      const { stdout: help } = await defaas(['help', name], {});
      if (!['--account', '--gateway', '--json', '--yes'].every((flag) => help.includes(flag)))
        lacking.push(name);
    }

    assert.deepEqual(lacking, []);
  });
});

describe('errors', () => {
  const { stderr } = process;
  const { isTTY, write } = stderr;
  const before = { NO_COLOR: process.env.NO_COLOR, FORCE_COLOR: process.env.FORCE_COLOR };
  afterEach(() => {
    Object.assign(stderr, { isTTY, write });
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });
  const shown = (isTerminal: boolean, env: Record<string, string>): string => {
    let text = '';
    delete process.env.NO_COLOR;
    delete process.env.FORCE_COLOR;
    Object.assign(process.env, env);
    Object.assign(stderr, {
      isTTY: isTerminal,
      write: (line: string) => {
        text += line;
        return true;
      },
    });
    showError('KEY_MISSING: no key');
    Object.assign(stderr, { isTTY, write });
    return text;
  };

  it('have colour on a terminal alone, and not with NO_COLOR', () => {
    const coloured = '\u001b[31mKEY_MISSING\u001b[39m: no key\n';

    assert.equal(shown(true, { TERM: 'xterm-256color' }), coloured);
    assert.equal(shown(true, { NO_COLOR: '1' }), 'KEY_MISSING: no key\n');
    assert.equal(shown(false, { FORCE_COLOR: '1' }), 'KEY_MISSING: no key\n');
  });
});
