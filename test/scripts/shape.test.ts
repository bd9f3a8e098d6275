// The shape of the product code: circles of imports, and sizes of folders, files and comment lines.
// Biome's noImportCycles finds circles too, but not those of type imports or of folders.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';

const AREAS = ['adapters', 'broker', 'contracts', 'ipfs', 'scripts'];

const MAX_FILES = 20;
/** Folders with a file for each command, and for each function of the client. */
const LARGE_FOLDERS = ['broker/client', 'scripts/cli'];

const MAX_LINES = 450;
/** Most lines of a file that may be longer; undefined is no limit. Numbers only go down here. */
const LONG_FILES: Readonly<Record<string, number | undefined>> = {
  'contracts/Billing.sol': undefined,
  'contracts/Disputes.sol': undefined,
  'contracts/interfaces/IBilling.sol': undefined,
  'contracts/interfaces/IDisputes.sol': undefined,
};

const MAX_COLUMNS = 100;
/** The files that a file imports. */
type Graph = ReadonlyMap<string, readonly string[]>;

describe('the shape of the product code', () => {
  const files = AREAS.flatMap((area) => filesUnder(area));
  const code = files.filter((file) => /\.(ts|mjs|cjs)$/.test(file));
  const sources = files.filter((file) => /\.(ts|mjs|cjs|sol)$/.test(file) && !isGenerated(file));

  it('has no circle of imports between files, with type imports and dynamic imports', () => {
    assert.deepEqual(circlesIn(readImports(code)), []);
  });

  it('has no circle of imports between folders, a file beside them counting as one', () => {
    const rooms = new Map<string, string[]>();
    for (const [from, targets] of readImports(code)) {
      const room = rooms.get(roomOf(from)) ?? [];
      room.push(...targets.map(roomOf).filter((target) => target !== roomOf(from)));
      rooms.set(roomOf(from), room);
    }

    assert.deepEqual(circlesIn(rooms), []);
  });

  it(`has at most ${MAX_FILES} files in a folder`, () => {
    const counts = new Map<string, number>();
    for (const file of files) counts.set(dirname(file), (counts.get(dirname(file)) ?? 0) + 1);

    const large = [...counts].filter(
      ([folder, count]) => count > MAX_FILES && !LARGE_FOLDERS.includes(folder),
    );
    assert.deepEqual(large, []);
  });

  it(`has at most ${MAX_LINES} lines in a file, but for those listed`, () => {
    const lines = new Map(sources.map((file) => [file, readLines(file).length]));

    const isLong = ([file, count]: readonly [string, number]) =>
      count > MAX_LINES && !(file in LONG_FILES && count <= (LONG_FILES[file] ?? count));
    assert.deepEqual([...lines].filter(isLong), []);
  });

  it(`has no comment line above ${MAX_COLUMNS} columns`, () => {
    const long = sources.flatMap((file) =>
      readLines(file)
        .map((line, index) => ({ line, place: `${file}:${index + 1}` }))
        .filter(({ line }) => isComment(line) && line.length > MAX_COLUMNS)
        .map(({ place }) => place),
    );

    assert.deepEqual(long, []);
  });
});

describe('the graph of imports', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-shape-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  const write = (file: string, text: string) => {
    mkdirSync(dirname(join(dir, file)), { recursive: true });
    writeFileSync(join(dir, file), text);
  };
  const circlesOf = (...files: string[]) => circlesIn(readImports(files, dir));

  const FORMS = [
    "import type { B } from './b.ts';",
    "import { type B } from './b.ts';",
    "export type { B } from './b.ts';",
    "type B = import('./b.ts').B;",
    "const b = await import('./b.ts');",
    "import './b.ts';",
    "import {\n  type B,\n  c,\n} from './b.ts';",
  ];
  for (const form of FORMS) {
    it(`finds a circle through ${JSON.stringify(form)}`, () => {
      write('a.ts', form);
      write('b.ts', "import { a } from './a.ts';");

      assert.deepEqual(circlesOf('a.ts', 'b.ts'), [['a.ts', 'b.ts']]);
    });
  }

  it('finds no circle through a comment, a package or a file that does not exist', () => {
    write('a.ts', "// import './b.ts';\n * from './b.ts'\nimport 'b';\nimport './c.ts';");
    write('b.ts', "import { a } from './a.ts';");

    assert.deepEqual(circlesOf('a.ts', 'b.ts'), []);
  });

  it('finds a circle of three files in two folders', () => {
    write('x/a.ts', "import './y/b.ts';");
    write('x/y/b.ts', "import '../c.ts';");
    write('x/c.ts', "import './a.ts';");

    const circles = circlesOf('x/a.ts', 'x/y/b.ts', 'x/c.ts');

    assert.deepEqual(circles, [['x/a.ts', 'x/c.ts', 'x/y/b.ts']]);
  });
});

/** All files of an area, without the packages that are installed in it. */
function filesUnder(area: string): string[] {
  return readdirSync(area, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes('node_modules'))
    .map((entry) => join(entry.parentPath, entry.name));
}

/** The paths are relative to `root`. */
function readImports(files: readonly string[], root = ''): Graph {
  const known = new Set(files);
  const importsOf = (file: string) => {
    const code = readLines(join(root, file)).filter((line) => !isComment(line));
    const paths = code.join('\n').matchAll(/\b(?:from|import|require)\s*\(?\s*(['"])(\.+\/.+?)\1/g);
    const targets = [...paths].map(([, , path = '']) => normalize(join(dirname(file), path)));
    return targets.filter((target) => known.has(target));
  };
  return new Map(files.map((file) => [file, importsOf(file)]));
}

/** A folder. A file in the root folder of an area stands for itself. */
function roomOf(file: string): string {
  const folder = dirname(file);
  return AREAS.includes(folder) ? file : folder;
}

/** Groups of nodes that reach each other, sorted (Tarjan's strongly connected components). */
function circlesIn(graph: Graph): string[][] {
  const indexOf = new Map<string, number>();
  const stack: string[] = [];
  const circles: string[][] = [];

  /** Returns the lowest index of an open node that the node reaches. */
  function visit(node: string): number {
    const index = indexOf.size;
    let lowest = index;
    indexOf.set(node, index);
    stack.push(node);
    for (const target of graph.get(node) ?? []) {
      const seen = indexOf.get(target);
      if (seen === undefined) lowest = Math.min(lowest, visit(target));
      else if (stack.includes(target)) lowest = Math.min(lowest, seen);
    }
    if (lowest === index) {
      const group = stack.splice(stack.indexOf(node));
      if (group.length > 1) circles.push(group.sort());
    }
    return lowest;
  }

  for (const node of graph.keys()) if (!indexOf.has(node)) visit(node);
  return circles;
}

function readLines(file: string): string[] {
  return readFileSync(file, 'utf8').replace(/\n$/, '').split('\n');
}

function isComment(line: string): boolean {
  return /^\s*(\/\/|\/\*|\*)/.test(line);
}

function isGenerated(file: string): boolean {
  return file.includes('.gen.');
}
