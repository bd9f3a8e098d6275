import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundle } from '../../ipfs/bundle.ts';
import { filesToCar } from '../../ipfs/car.ts';
import { refused, runArtifact, writeFolder } from './function-folder.ts';

const HANDLER = 'export default async (request) => new Response(request.method);\n';
const TYPED =
  'export default async (request: Request): Promise<Response> => new Response(request.url);\n';
const KEY_OF_A_TEST = ['-----BEGIN PRIVATE', `KEY-----\n${'MIIEvQIBADANBgkqhkiG'.repeat(4)}`].join(
  ' ',
);

describe('the bundler', () => {
  let root: string;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'defaas-bundle-'));
  });
  afterEach(async () => {
    await rm(root, { recursive: true, force: true });
  });

  const folder = (files: Record<string, string | object>, name = 'fn') =>
    writeFolder(join(root, name), files);

  it('puts TypeScript, a CommonJS and an ES module dependency into one handler that runs', async () => {
    const path = await folder({
      'handler.ts': `import { createRequire } from 'node:module';
import answer from 'answer';
import { double } from 'double';
const require = createRequire(import.meta.url);
const __dirname: string = require('node:path').dirname('/own/x');
export default async (): Promise<unknown> => ({ value: double(answer.value), __dirname, theirs: answer.where });
`,
      'node_modules/answer/package.json': { name: 'answer', version: '1.0.0' },
      'node_modules/answer/index.js':
        "module.exports = { value: require('os').EOL.length + 20, where: typeof require };",
      'node_modules/double/package.json': {
        name: 'double',
        type: 'module',
        exports: './double.js',
      },
      'node_modules/double/double.js': 'export const double = (value) => value * 2;',
    });

    const { files } = await bundle(path);

    assert.deepEqual([...files.keys()], ['handler.mjs', 'handler.mjs.map', 'defaas.json']);
    const answer = { value: 42, __dirname: '/own', theirs: 'function' };
    assert.deepEqual(await runArtifact(files, join(root, 'artifact')), answer);
  });

  it('has a source map without the text of the sources, unless it is asked for', async () => {
    const path = await folder({ 'handler.ts': TYPED });
    const mapOf = async (sources?: boolean) => {
      const { files } = await bundle(path, sources === undefined ? {} : { sources });
      return JSON.parse(Buffer.from(files.get('handler.mjs.map') ?? []).toString());
    };

    const map = await mapOf();
    const whole = await mapOf(true);

    assert.deepEqual([map.sources, map.sourcesContent], [['handler.ts'], undefined]);
    assert.deepEqual(whole, { ...map, sourcesContent: [TYPED] });
  });

  it('gives the same CID for the same files in another folder, time zone and umask', async () => {
    const files = { 'handler.ts': TYPED, 'data/b.txt': 'b', 'data/a.txt': 'a' };
    const manifest = { name: 'fn', env: { B: '1', A: '2' }, files: ['data/b.txt', 'data/a.txt'] };
    const here = await folder({ ...files, 'defaas.json': manifest });
    const { cid } = await filesToCar((await bundle(here)).files);

    const program = `
      process.umask(0o077);
      const { mkdirSync, writeFileSync } = await import('node:fs');
      const { bundle } = await import(${JSON.stringify(new URL('../../ipfs/bundle.ts', import.meta.url))});
      const { filesToCar } = await import(${JSON.stringify(new URL('../../ipfs/car.ts', import.meta.url))});
      const folder = ${JSON.stringify(join(root, 'deep/er/other'))};
      mkdirSync(folder + '/data', { recursive: true });
      for (const [path, text] of Object.entries(${JSON.stringify({ ...files, 'defaas.json': JSON.stringify(manifest) })})) writeFileSync(folder + '/' + path, text);
      console.log((await filesToCar((await bundle(folder)).files)).cid);`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      encoding: 'utf8',
      cwd: root,
      env: { ...process.env, TZ: 'Pacific/Kiritimati' },
    });

    assert.equal(stdout.trim(), cid, stderr);
  });

  it('bundles its own artifact to the same handler', async () => {
    const { files } = await bundle(await folder({ 'handler.ts': TYPED }));
    const again = join(root, 'again');
    await mkdir(again);
    for (const [path, bytes] of files) await writeFile(join(again, path), bytes);

    const second = await bundle(again);

    assert.deepEqual(second.manifestBytes, files.get('defaas.json'));
  });

  it('keeps licences and the listed files', async () => {
    const path = await folder({
      'handler.js': `/*! (c) someone */\n${HANDLER}`,
      'defaas.json': { name: 'fn', entry: 'handler.js', files: ['words/en.txt'] },
      'words/en.txt': 'hello',
      'unlisted.txt': 'stays at home',
    });

    const { files, manifest } = await bundle(path);

    assert.deepEqual(
      [...files.keys()],
      ['handler.mjs', 'handler.mjs.LEGAL.txt', 'handler.mjs.map', 'words/en.txt', 'defaas.json'],
    );
    assert.equal(manifest.entry, 'handler.mjs');
  });

  it('refuses a path that is no folder', async () => {
    await refused(join(root, 'nowhere'), 'NOT_A_FUNCTION_FOLDER', 'nowhere');
    await refused(root, 'NOT_A_FUNCTION_FOLDER', root);
  });

  it('names file and line of source that does not bundle', async () => {
    const path = await folder({ 'handler.ts': 'export default 1;\nconst a = ;\n' });
    await refused(path, 'ARTIFACT_BUNDLE', 'handler.ts:2');
  });

  it('names the import that is not installed, and where to run npm install', async () => {
    const path = await folder({
      'handler.ts': `import 'left-out/sub';\n${TYPED}`,
      'package.json': { dependencies: { 'left-out': '1.0.0' } },
    });

    const line = await refused(path, 'ARTIFACT_IMPORT', 'handler.ts:1');

    assert.ok(line.endsWith(`run npm install in ${path}`), line);
    const undeclared = await folder({ 'handler.ts': `import '@a/b/c';\n${TYPED}` }, 'undeclared');
    await refused(undeclared, 'ARTIFACT_IMPORT', 'run npm install @a/b in');
    const typo = await folder({ 'handler.ts': `\nimport './lost.ts';\n${TYPED}` }, 'typo');
    await refused(typo, 'ARTIFACT_IMPORT', 'handler.ts:2, correct the path');
  });

  it('refuses an entry that is missing or has no default export', async () => {
    await refused(await folder({}), 'ARTIFACT_ENTRY', 'handler.ts');
    await refused(
      await folder({ 'handler.ts': 'export const handler = 1;' }),
      'ARTIFACT_ENTRY',
      'handler.ts:1',
    );
  });

  it('refuses native addons, imported or looked for at run time', async () => {
    const direct = await folder({
      'handler.js': `import './fast.node';\n${HANDLER}`,
      'fast.node': '',
      'defaas.json': { name: 'fn', entry: 'handler.js' },
    });
    await refused(direct, 'ARTIFACT_NATIVE_ADDON', 'handler.js:1');
    const indirect = await folder(
      {
        'handler.ts': `import 'fast';\n${TYPED}`,
        'node_modules/fast/package.json': { name: 'fast', binary: { napi_versions: [9] } },
        'node_modules/fast/index.js': 'module.exports = require(process.platform + ".node");',
      },
      'indirect',
    );
    await refused(
      indirect,
      'ARTIFACT_NATIVE_ADDON',
      'fast cannot run on every cloud, on handler.ts',
    );
  });

  it('refuses text that looks like a key, in env, sources and listed files', async () => {
    const inEnv = await folder(
      { 'handler.ts': TYPED, 'defaas.json': { name: 'fn', env: { API_KEY: 'correct-horse' } } },
      'env',
    );
    await refused(inEnv, 'ARTIFACT_SECRET', 'env.API_KEY');
    const inSource = await folder(
      { 'handler.ts': `${TYPED}\nexport const key = \`${KEY_OF_A_TEST}\`;` },
      'source',
    );
    await refused(inSource, 'ARTIFACT_SECRET', 'handler.ts:3');
    const listed = await folder(
      { 'handler.ts': TYPED, '.env': 'A=b', 'defaas.json': { name: 'fn', files: ['.env'] } },
      'listed',
    );
    await refused(listed, 'ARTIFACT_SECRET', '.env');
  });

  it('refuses listed files that are missing, outside or reserved', async () => {
    for (const file of [
      'none.txt',
      '../outside.txt',
      'a/../../outside.txt',
      'handler.mjs',
      'package.json',
      '/etc/hostname',
      'directory',
    ]) {
      const path = await folder({
        'handler.ts': TYPED,
        'directory/x': '',
        'defaas.json': { name: 'fn', files: [file] },
      });
      await writeFile(join(root, 'outside.txt'), 'x');
      await refused(path, 'ARTIFACT_INVALID', file);
    }
  });
});
