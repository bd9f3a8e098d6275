// Packages that one bundled file cannot hold, and files that a handler's sources read.

import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundle } from '../../ipfs/bundle.ts';
import { filesToCar } from '../../ipfs/car.ts';
import { refused, runArtifact, writeFolder } from './function-folder.ts';

const HANDLER = 'export default async () => new Response();\n';

describe('the packages of a function', () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'defaas-packages-'));
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  const folder = (files: Record<string, string | object>, name = 'fn') =>
    writeFolder(join(root, name), files);
  /** The handler returns `answer`, which `source` defines. */
  const answerOf = async (source: string, files: Record<string, string | object>) => {
    const path = await folder({
      'defaas.json': { name: 'fn', entry: 'handler.mjs' },
      'handler.mjs': `${source}\nexport default async () => answer;\n`,
      ...files,
    });
    const bundled = await bundle(path);
    return {
      kept: [...bundled.files.keys()].filter((file) => file.startsWith('npm/')),
      answer: await runArtifact(bundled.files, join(root, 'artifact')),
    };
  };

  it('leaves out what a package can be without: not installed, or native', async () => {
    const { answer } = await answerOf("import db from 'db'; const answer = db;", {
      'node_modules/db/package.json': {
        name: 'db',
        optionalDependencies: { fast: '1' },
        peerDependencies: { oracle: '1' },
        peerDependenciesMeta: { oracle: { optional: true } },
      },
      'node_modules/db/index.js': `
        const load = (name) => name === 'oracle' ? require('oracle') : require('undeclared');
        const codeOf = (name) => { try { load(name) } catch ({ code }) { return code; } };
        let fast = 'slow';
        try { fast = require('fast'); } catch {}
        module.exports = [codeOf('oracle'), codeOf('other'), fast];`,
      'node_modules/fast/package.json': { name: 'fast', gypfile: true },
      'node_modules/fast/index.js': "module.exports = require('./build.node');",
    });

    assert.deepEqual(answer, ['MODULE_NOT_FOUND', 'MODULE_NOT_FOUND', 'slow']);
  });

  it('refuses what a package needs and is not installed, at its line', async () => {
    const path = await folder({
      'handler.ts': `import 'db';\n${HANDLER}`,
      'node_modules/db/package.json': { name: 'db', dependencies: { driver: '1' } },
      'node_modules/db/index.js': "\nexports.load = () => require('driver');",
    });

    await refused(path, 'ARTIFACT_IMPORT', 'node_modules/db/index.js:2, run npm install driver');
  });

  it('names a package that has one build for each platform', async () => {
    const path = await folder({
      'handler.ts': `import 'image';\n${HANDLER}`,
      'node_modules/image/package.json': {
        name: 'image',
        optionalDependencies: { '@img/image-linux-x64': '1', '@img/image-linuxmusl-arm64': '1' },
      },
      'node_modules/image/index.js':
        'module.exports = require("@img/image-" + process.platform + "-" + process.arch);',
    });

    await refused(path, 'ARTIFACT_NATIVE_ADDON', 'addon image cannot run on every cloud, on handl');
  });

  it('keeps a package that reads its own files, with the files and with what it loads', async () => {
    const { kept, answer } = await answerOf(
      `import paper, { size } from 'paper';
       import { shared } from 'shared';
       const answer = [paper.default.font(), size, paper.default.shared === shared];`,
      {
        'node_modules/paper/package.json': { name: 'paper', main: 'lib' },
        'node_modules/paper/LICENSE': 'free',
        'node_modules/paper/types/index.d.ts': 'export {};',
        'node_modules/paper/test/font.afm': 'other',
        'node_modules/paper/data/font.afm': 'Helvetica',
        'node_modules/paper/lib/index.js': `
          const { readFileSync } = require('node:fs');
          exports.__esModule = true;
          exports.size = 'A4';
          exports.default = {
            font: () => readFileSync(__dirname + '/../data/font.afm', 'utf8'),
            shared: require('shared').shared,
          };`,
        'node_modules/paper/lib/unused.js': '',
        'node_modules/shared/package.json': { name: 'shared', type: 'module', main: 'index.js' },
        'node_modules/shared/index.js': 'export const shared = {};',
        'node_modules/shared/data.txt': 'not read',
      },
    );

    assert.deepEqual(answer, ['Helvetica', 'A4', true]);
    assert.deepEqual(kept, [
      'npm/node_modules/paper/LICENSE',
      'npm/node_modules/paper/data/font.afm',
      'npm/node_modules/paper/lib/index.js',
      'npm/node_modules/paper/package.json',
      'npm/node_modules/shared/index.js',
      'npm/node_modules/shared/package.json',
    ]);
  });

  it('keeps what a package loads by a computed name: its peers, its workers, its own require', async () => {
    const { answer } = await answerOf(
      "import orm from 'orm'; import tool from 'tool'; const answer = [orm('driver'), tool];",
      {
        'node_modules/orm/package.json': {
          name: 'orm',
          peerDependenciesMeta: { driver: { optional: true } },
        },
        'node_modules/orm/index.js': 'module.exports = (name) => require(name).kind;',
        'node_modules/driver/index.js': "exports.kind = require('./kind.js');",
        'node_modules/driver/kind.js': "module.exports = 'sql';",
        'node_modules/tool/package.json': { name: 'tool', type: 'module', exports: './tool.js' },
        'node_modules/tool/tool.js': `import { createRequire } from 'node:module';
          import { join } from 'node:path';
          const require$1 = createRequire(import.meta.url);
          const worker = join(import.meta.dirname, 'lib', 'worker.cjs');
          export default [require$1('helper'), require$1(worker)];`,
        'node_modules/tool/lib/worker.cjs': "module.exports = require('./work.cjs');",
        'node_modules/tool/lib/work.cjs': "module.exports = 'work';",
        'node_modules/helper/index.js': "module.exports = 'help';",
      },
    );

    assert.deepEqual(answer, ['sql', ['help', 'work']]);
  });

  it('keeps two versions of a package apart, whichever folder has them, with the same CID', async () => {
    const places = ['one', 'two/deep'];
    const cids = await Promise.all(
      places.map(async (place) => {
        const version = (of: string) =>
          `module.exports = '${of}' + require('node:fs').existsSync(__filename) + require('leaf');`;
        await folder({ 'node_modules/a/index.js': version('outer') }, place);
        await folder({ 'node_modules/leaf/index.js': "module.exports = 'leaf'" }, place);
        await folder({ 'node_modules/b/index.js': "module.exports = require('a')" }, place);
        const path = await folder(
          {
            'handler.ts': `import a from 'a';\nimport b from 'b';\nexport default async () => [a, b];`,
            'node_modules/a/index.js': version('inner'),
          },
          `${place}/fn`,
        );
        const { files } = await bundle(path);
        const answer = await runArtifact(files, join(root, 'artifact', place));
        assert.deepEqual(answer, ['innertrueleaf', 'outertrueleaf']);
        return (await filesToCar(files)).cid;
      }),
    );

    assert.equal(new Set(cids).size, 1);
  });

  it('keeps packages that pnpm has linked, and refuses two versions of one', async () => {
    const store = (name: string) => `node_modules/.pnpm/${name}@1/node_modules`;
    const path = await folder({
      'handler.ts': "import a from 'a';\nexport default async () => a;",
      [`${store('a')}/a/index.js`]: "module.exports = [typeof __dirname, require('b')];",
      [`${store('b')}/b/index.js`]: "module.exports = 'b';",
    });
    const link = (to: string, from: string) =>
      symlink(join(path, to), join(path, from), 'junction');
    await link(`${store('a')}/a`, 'node_modules/a');
    await link(`${store('b')}/b`, `${store('a')}/b`);

    const { files } = await bundle(path);

    assert.deepEqual(await runArtifact(files, join(root, 'artifact')), ['string', 'b']);

    await folder({
      [`${store('a')}/a/index.js`]: "module.exports = [__dirname, require('b'), require('c')];",
      [`${store('c')}/c/index.js`]: "module.exports = require('b');",
      'node_modules/.pnpm/b@2/node_modules/b/index.js': "module.exports = 'newer';",
    });
    await link(`${store('c')}/c`, `${store('a')}/c`);
    await link('node_modules/.pnpm/b@2/node_modules/b', `${store('c')}/b`);
    await refused(path, 'ARTIFACT_BUNDLE', '.pnpm/b@1/node_modules/b and node_modules/.pnpm/b@2');
  });

  it('takes the build of a package that Node takes', async () => {
    const { answer } = await answerOf("import { kind } from 'dual'; const answer = kind;", {
      'node_modules/dual/package.json': {
        name: 'dual',
        exports: { module: './browser.js', node: './node.cjs', default: './browser.js' },
      },
      'node_modules/dual/node.cjs': "exports.kind = 'node';",
      'node_modules/dual/browser.js': "exports.kind = 'bundler';",
    });

    assert.equal(answer, 'node');
  });
});

describe("the files that a handler's sources read", () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'defaas-own-files-'));
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  const READS: readonly [source: string, on: string][] = [
    ["readFileSync(new URL('./data.json', import.meta.url))", 'src/data.json'],
    ["readFileSync(join(import.meta.dirname, 'data.json'))", 'src/data.json'],
    ["readFileSync(resolve(import.meta.dirname, '..', 'words', 'en.txt'))", 'words/en.txt'],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the source of a handler
    ['readFileSync(`${import.meta.dirname}/data.json`)', 'src/data.json'],
    ["readFileSync(import.meta.dirname + '/data.json')", 'src/data.json'],
    ["readFileSync('words/en.txt')", 'words/en.txt'],
    ["readFileSync('./words/en.txt', 'utf8')", 'words/en.txt'],
    ["readFileSync(join(import.meta.dirname, '../words', lang))", 'words'],
  ];
  for (const [read, file] of READS) {
    it(`refuses ${read} at its line until the file is listed, then reads it`, async () => {
      const imports =
        "import { readFileSync } from 'node:fs';\nimport { join, resolve } from 'node:path';\nconst lang = 'en.txt';";
      const files = {
        'src/handler.ts': `${imports}\nexport default async () => ${read}.toString();`,
        'src/data.json': 'content',
        'words/en.txt': 'content',
      };
      const entry = { name: 'fn', entry: 'src/handler.ts' };
      const path = await writeFolder(join(root, 'fn'), { ...files, 'defaas.json': entry });

      await refused(
        path,
        'ARTIFACT_BUNDLE',
        `reads ${file}, which is not in the artifact, on src/handler.ts:4`,
      );

      const listed = { ...entry, files: ['src/data.json', 'words/en.txt'] };
      await writeFolder(path, { 'defaas.json': listed });
      const bundled = await bundle(path);
      assert.equal(await runArtifact(bundled.files, join(root, 'artifact')), 'content');
    });
  }

  it('tells a CommonJS source below the top its own folder', async () => {
    const path = await writeFolder(join(root, 'fn'), {
      'defaas.json': { name: 'fn', entry: 'src/handler.js', files: ['src/data.txt'] },
      'src/handler.js': `const { readFileSync } = require('node:fs');
        module.exports = async () => readFileSync(__dirname + '/data.txt', 'utf8');`,
      'src/data.txt': 'content',
    });

    const { files } = await bundle(path);

    assert.equal(await runArtifact(files, join(root, 'artifact')), 'content');
  });

  it('refuses a module by a computed name and one of createRequire, at the line', async () => {
    const computed = await writeFolder(join(root, 'computed'), {
      'handler.ts': `const name = process.env.NAME ?? '';\nexport default async () => import(name);`,
    });
    await refused(computed, 'ARTIFACT_BUNDLE', 'computed, on handler.ts:2, name each module');
    const required = await writeFolder(join(root, 'required'), {
      'handler.ts': `import { createRequire } from 'node:module';
const require = createRequire(import.meta.url);
const { a } = require('./a.json');
export default async () => a;`,
      'a.json': { a: 1 },
    });
    await refused(
      required,
      'ARTIFACT_BUNDLE',
      'loads ./a.json, which is not in the artifact, on handler.ts:3',
    );
  });
});
