// A home folder that somebody else has planted: its keys and contracts are used only after the user
// has confirmed it once. The command line is bundled as an installed package has it, for only that
// one looks for a home upward.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { createKey } from '../../../contracts/keystore.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const SCRIPT = ['/usr/bin/script', '/bin/script'].find(existsSync);
const isRoot = process.getuid?.() === 0;

interface Ended {
  readonly code: number;
  readonly stderr: string;
  readonly stdout: string;
}

describe('the home of an installed command line', function () {
  this.timeout(60_000);
  let folder: string;
  let main: string;
  before(async () => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'defaas-installed-')));
    const installed = join(folder, 'node_modules/defaas');
    mkdirSync(installed, { recursive: true });
    symlinkSync(join(ROOT, 'node_modules'), join(installed, 'node_modules'));
    writeFileSync(join(installed, 'package.json'), '{"version":"0","type":"module"}');
    await build({
      entryPoints: [join(ROOT, 'scripts/defaas.ts')],
      // As deep as scripts/cli/house.ts, which finds the root of the package from its own place.
      outdir: join(installed, 'scripts/cli'),
      bundle: true,
      splitting: true,
      packages: 'external',
      format: 'esm',
      platform: 'node',
      logLevel: 'silent',
    });
    main = join(installed, 'scripts/cli/defaas.js');
  });
  after(() => rmSync(folder, { recursive: true }));

  let user: string;
  let work: string;
  beforeEach(() => {
    user = mkdtempSync(join(folder, 'user-'));
    work = join(user, 'project/below');
    mkdirSync(work, { recursive: true });
  });

  const env = (more: Record<string, string>) => ({
    PATH: process.env.PATH,
    HOME: user,
    INIT_CWD: work,
    DEFAAS_GATEWAY: 'http://127.0.0.1:1',
    ...more,
  });
  const run = (
    program: string,
    args: readonly string[],
    more: Record<string, string> = {},
    typed?: string,
  ): Promise<Ended> =>
    new Promise((done) => {
      const options = { cwd: work, env: env(more) };
      const child = execFile(program, [...args], options, (error, stdout, stderr) => {
        done({ code: error ? Number(error.code) : 0, stdout, stderr });
      });
      child.stdin?.end(typed);
    });
  const defaas = (words: readonly string[], more?: Record<string, string>) =>
    run(process.execPath, [main, ...words], more);
  const homeIn = (place: string): string => {
    const home = join(place, '.defaas');
    mkdirSync(join(home, 'keys'), { recursive: true, mode: 0o700 });
    const file = join(home, 'keys/user.json');
    writeFileSync(file, JSON.stringify(createKey()), { mode: 0o600 });
    return home;
  };
  /** The next error once the home is accepted: there is no RPC. */
  const taken = ({ stderr }: Ended) => assert.match(stderr, /^RPC_REQUIRED: [^\n]+\n$/);
  const unconfirmed = ({ code, stderr }: Ended, home: string) => {
    assert.match(stderr, /^DEPLOYMENT_UNCONFIRMED: [^\n]+--yes\n$/);
    assert.ok(stderr.includes(home), stderr);
    assert.equal(code, 1);
  };

  it('is the user’s own, without a question', async () => {
    homeIn(user);

    taken(await defaas(['balance']));
  });

  it('is confirmed once when it lies above the current folder, and needs no confirmation by DEFAAS_HOME', async () => {
    homeIn(user);
    const found = homeIn(join(user, 'project'));

    const asked = await defaas(['deposit', '1']);
    const named = await defaas(['deposit', '1'], { DEFAAS_HOME: found });
    const stillAsked = await defaas(['deposit', '1']);
    const confirmed = await defaas(['deposit', '1', '--yes']);
    const later = await defaas(['deposit', '1']);
    rmSync(found, { recursive: true });
    homeIn(join(user, 'project'));
    const replaced = await defaas(['deposit', '1']);

    for (const ended of [asked, stillAsked, replaced]) unconfirmed(ended, found);
    for (const ended of [named, confirmed, later]) taken(ended);
    const { mode } = statSync(join(user, '.defaas/cli.sqlite'));
    assert.equal(mode & 0o777, 0o600);
  });

  it('must be confirmed when everybody may write to it', async () => {
    const home = homeIn(user);
    chmodSync(home, 0o777);

    unconfirmed(await defaas(['balance']), home);
    taken(await defaas(['balance', '--yes']));
  });

  const itAsRoot = isRoot ? it : it.skip;
  itAsRoot(
    `must be confirmed when somebody else owns it${isRoot ? '' : ' (skipped: only root can give a folder away)'}`,
    async () => {
      const home = homeIn(user);
      chownSync(home, 12_345, 12_345);

      const asked = await defaas(['balance']);

      unconfirmed(asked, home);
      assert.match(asked.stderr, /owned by user 12345/);
      taken(await defaas(['balance', '--yes']));
      taken(await defaas(['balance']));
    },
  );

  const itOnTerminal = SCRIPT ? it : it.skip;
  itOnTerminal(
    `is confirmed on a terminal by the answer yes alone${SCRIPT ? '' : ' (skipped: there is no script)'}`,
    async () => {
      const found = homeIn(join(user, 'project'));
      const command = `${process.execPath} ${main} deposit 1`;
      const answer = (text: string) =>
        run(SCRIPT ?? '', ['-qec', command, '/dev/null'], {}, `${text}\n`);

      const no = await answer('');
      const other = await answer('yesterday');
      const yes = await answer('y');

      for (const { stdout } of [no, other]) {
        assert.ok(stdout.includes(found), stdout);
        assert.match(stdout, /Is that right\? \[y\/N\]/);
        assert.match(stdout, /DEPLOYMENT_UNCONFIRMED: /);
      }
      assert.match(yes.stdout, /RPC_REQUIRED: /);
      taken(await defaas(['deposit', '1']));
    },
  );
});
