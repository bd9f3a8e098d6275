import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ArtifactError } from '../../../ipfs/artifact-error.ts';
import { bundle } from '../../../ipfs/bundle.ts';
import { refuseUnloadable } from '../../../scripts/cli/load-check.ts';

describe('the load check of a bundle', () => {
  const flags = { json: true };
  let dir: string;

  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-load-check-'));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  async function check(source: string, manifest: object = {}, maxLoadMs?: number): Promise<void> {
    const folder = mkdtempSync(join(dir, 'function-'));
    writeFileSync(join(folder, 'defaas.json'), JSON.stringify({ name: 'checked', ...manifest }));
    writeFileSync(join(folder, 'handler.ts'), source);
    await refuseUnloadable(flags, await bundle(folder), maxLoadMs);
  }

  async function refused(
    code: string,
    told: string,
    ...given: Parameters<typeof check>
  ): Promise<void> {
    const error = await check(...given).catch((reason: unknown) => reason);
    assert.ok(error instanceof ArtifactError, String(error));
    assert.equal(error.code, code);
    assert.ok(error.message.includes(told), error.message);
  }

  it('loads a module without calling its handler', async () => {
    await check('export default () => process.exit(1);');
    await check('export default { fetch: () => process.exit(1) };');
  });

  it('names the line of the publisher’s file where the module throws', async () => {
    await refused(
      'ARTIFACT_LOAD',
      'RangeError: on purpose, on handler.ts:3',
      `interface Unused { a: string }\n\nconst fail = () => { throw new RangeError('on purpose'); };\nexport default fail();`,
    );
  });

  it('refuses a module that throws what has no text', () =>
    refused('ARTIFACT_LOAD', 'object', 'throw Object.create(null); export default () => 1;'));

  it('refuses a module that ends its process', () =>
    refused('ARTIFACT_LOAD', 'exit status 3', 'process.exit(3); export default () => 1;'));

  for (const [title, source] of [
    ['waits for ever', 'await new Promise(() => {}); export default () => 1;'],
    ['has an endless loop', 'for (;;); export default () => 1;'],
  ] as const) {
    it(`refuses a module that ${title}`, () =>
      refused('ARTIFACT_LOAD', 'the handler does not load', source, {}, 2_000));
  }

  for (const source of [
    'export default class { fetch() { return null; } }',
    'export default { handler() { return null; } };',
    'export default null;',
    'export default Object.assign(() => null, { listen() {} });',
  ]) {
    it(`refuses what is no handler: ${source}`, () => refused('ARTIFACT_ENTRY', 'default', source));
  }

  describe('with secrets, which are not in the manifest,', () => {
    const secrets = { secrets: ['LOAD_CHECK_DATABASE'] };
    afterEach(() => {
      delete process.env.LOAD_CHECK_DATABASE;
    });

    it('gives each a value that is a URL', () =>
      check('new URL(process.env.LOAD_CHECK_DATABASE!); export default () => 1;', secrets));

    it('names those that it had to invent, and takes them from the environment', async () => {
      const source =
        "if (process.env.LOAD_CHECK_DATABASE !== 'right') throw new Error('wrong'); export default () => 1;";

      await refused('ARTIFACT_LOAD', 'set LOAD_CHECK_DATABASE', source, secrets);

      process.env.LOAD_CHECK_DATABASE = 'right';
      await check(source, secrets);
    });
  });

  it('refuses what the sandbox does not allow at load only where the version may run on local', async () => {
    const source = `import { readFileSync } from 'node:fs'; readFileSync('/etc/passwd'); export default () => 1;`;

    await refused('ARTIFACT_LOAD', 'on local it has', source);
    await refused('ARTIFACT_LOAD', 'on local it has', source, {
      providers: ['aws-lambda', 'local'],
    });
    await check(source, { providers: ['aws-lambda'] });
  });
});
