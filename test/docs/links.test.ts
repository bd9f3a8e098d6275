// Every relative link of a page leads to a file of the repository, and to a heading where it names
// one.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { headingsOf, PAGES, proseOf } from './markdown.ts';

describe('links of documents', () => {
  for (const page of PAGES) {
    it(`of ${page} lead to files and headings that exist`, () => {
      const broken = linksIn(page).filter((link) => !leadsSomewhere(page, link));

      assert.deepEqual(broken, []);
    });
  }

  it('are found, and a broken one is reported', () => {
    assert.ok(linksIn('README.md').includes('docs/protocol.md'));
    assert.equal(leadsSomewhere('README.md', 'docs/contracts.md#73-the-slash'), true);
    assert.equal(leadsSomewhere('README.md', 'docs/contracts.md#no-such-heading'), false);
    assert.equal(leadsSomewhere('README.md', 'docs/none.md'), false);
    assert.equal(leadsSomewhere('README.md', '../outside.md'), false);
  });
});

/** The targets of links and pictures, without those of other hosts; code is not looked at. */
function linksIn(page: string): string[] {
  const text = proseOf(page).replaceAll(/`[^`\n]*`/g, '');
  const inline = [...text.matchAll(/\]\(([^)\s]+)(?: "[^"]*")?\)/g)];
  const defined = [...text.matchAll(/^\[[^\]]+\]:\s*(\S+)/gm)];
  const html = [...text.matchAll(/<(?:a|img)\b[^>]*?\b(?:href|src)="([^"]+)"/g)];
  return [...inline, ...defined, ...html]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z][a-z0-9+.-]*:/i.test(target));
}

function leadsSomewhere(page: string, link: string): boolean {
  const [path = '', anchor] = link.split('#');
  const file = path === '' ? page : join(dirname(page), decodeURIComponent(path));
  if (relative('.', file).startsWith('..') || !existsSync(file)) return false;
  return anchor === undefined || (file.endsWith('.md') && anchorsOf(file).has(anchor));
}

/** The anchors that GitHub gives the headings of a page. */
function anchorsOf(page: string): ReadonlySet<string> {
  const anchors = new Set<string>();
  for (const heading of headingsOf(page)) {
    const slug = heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(/\s/g, '-');
    let unique = slug;
    for (let times = 1; anchors.has(unique); times += 1) unique = `${slug}-${times}`;
    anchors.add(unique);
  }
  return anchors;
}
