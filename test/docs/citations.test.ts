// A comment, a message or a page names only pages and sections that are in the repository.
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { headingsOf, PAGES, quotedIn, sectionsOf } from './markdown.ts';

const SOURCES = [
  ...globSync('{adapters,broker,contracts,ipfs,scripts,test}/**/*.{ts,mjs,cjs,sol,py,json}', {
    exclude: (path) => path.endsWith('node_modules') || path.endsWith('.gen.ts'),
  }),
  ...['biome.json', 'hardhat.config.ts', '.ci/run', '.env.example', '.editorconfig'],
];
/** A page's name, then sections of it by number or one by its heading. */
const CITATION =
  /([\w./-]+\.md)(?: ((?:\d+(?:\.\d+)*)(?:(?:,| and| to) \d+(?:\.\d+)*)*)|, "([^"]+)")?/g;
/** The start of a comment's next line. */
const NEXT_LINE = /\n\s*(?:\/\/\/?|\*|#) */g;
/** A source file, from the root on. */
const SOURCE =
  /(?<![\w./-])(?:adapters|broker|contracts|ipfs|scripts|test)\/[\w./-]+\.(?:ts|sol|mjs|cjs|json|py)\b/g;
/** Paths that a page quotes: of these folders, or files that lie in the root. */
const PATH =
  /^(?:(?:adapters|broker|contracts|ipfs|scripts|test|docs)\/[\w./-]*|\.ci\/run|\.env\.example|[\w-]+\.(?:json|md))$/;
/** Written by a user, or by a release. */
const NOT_OURS = ['defaas.json', 'deployment.json', 'up.json'];

describe('citations', () => {
  it('of pages and sections in sources lead to pages and sections that exist', () => {
    const wrong = SOURCES.filter((path) => !path.startsWith('test/docs/')).flatMap((path) =>
      wrongIn(citableIn(readFileSync(path, 'utf8'))).map((citation) => `${citation} in ${path}`),
    );

    assert.deepEqual(wrong, []);
  });

  it('of sources in comments lead to files that exist', () => {
    const wrong = SOURCES.flatMap((path) =>
      commentsIn(readFileSync(path, 'utf8')).flatMap((comment) =>
        [...comment.matchAll(SOURCE)]
          .map(([source]) => source)
          .filter((source) => !existsSync(source))
          .map((source) => `${source} in ${path}`),
      ),
    );

    assert.deepEqual(wrong, []);
  });

  it('are found, and a wrong one is reported', () => {
    const said = (text: string) => wrongIn(text);

    assert.deepEqual(said('as docs/contracts.md 6.1 and 7.3 have it'), []);
    assert.deepEqual(said('see (docs/architecture.md,\n * "The way of one call")'), []);
    assert.deepEqual(said('see contracts.md 6.1'), ['contracts.md 6.1']);
    assert.deepEqual(said('see docs/contracts.md 6.1 and 99'), ['docs/contracts.md 6.1 and 99']);
    assert.deepEqual(said('docs/trust.md, "Nothing"'), ['docs/trust.md, "Nothing"']);
  });

  for (const page of PAGES) {
    it(`of files in ${page} lead to files that exist`, () => {
      const missing = quotedIn(page).filter(
        (path) => PATH.test(path) && !NOT_OURS.includes(path) && !existsSync(path),
      );

      assert.deepEqual(missing, []);
    });
  }
});

/** Comments, and messages that name a folder: another name may be of a user's file. */
function citableIn(text: string): string {
  const isComment = new Set(commentsIn(text));
  return text
    .split('\n')
    .filter((line) => isComment.has(line) || line.includes('/'))
    .join('\n');
}

/** Lines that are comments, of any of our languages. */
function commentsIn(text: string): string[] {
  return text.split('\n').filter((line) => /^\s*(?:\/\/|\/\*|\*|#)/.test(line));
}

/** Citations that lead nowhere. */
function wrongIn(text: string): string[] {
  return [...text.replaceAll(NEXT_LINE, ' ').matchAll(CITATION)]
    .filter(([, page = '', numbers, heading]) => {
      if (!existsSync(page)) return true;
      const sections = sectionsOf(page);
      const cited = numbers?.match(/\d+(?:\.\d+)*/g) ?? [];
      if (cited.some((number) => !sections.has(number))) return true;
      return heading !== undefined && !headingsOf(page).includes(heading);
    })
    .map(([citation]) => citation);
}
