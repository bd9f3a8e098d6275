// Figures, bars and lists of the pages equal those of the code.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { readSnapshot } from '../../scripts/bench/gas/snapshot.ts';

/** A bar in a benchmark's source. Its limit may be a name. */
const BAR = /\{ figure: '(\w+)', limit: ([\d_.]+|[^,}]+?)(?:, kind: '(least)')? \}/g;

describe('figures of the documents', () => {
  it('of gas are those of the snapshot; after an intended change write them into docs/contracts.md', () => {
    const page = readFileSync('docs/contracts.md', 'utf8');
    const table = page.slice(page.indexOf('<!-- gas'), page.indexOf('<!-- /gas'));
    const cells = [...table.matchAll(/`(\w+)` \| ([\d.]+)/g)];

    assert.deepEqual(
      Object.fromEntries(cells.map(([, action, gas]) => [action, Number(gas)])),
      readSnapshot(),
    );
  });

  it('name every benchmark and its bars in docs/performance.md', () => {
    const page = readFileSync('docs/performance.md', 'utf8');
    const rows = new Map(
      [...page.matchAll(/^\| `(\w+)` \| .+ \| (.+) \|$/gm)].map(([, name, bars = '']) => [
        name,
        bars,
      ]),
    );
    const benches = globSync('scripts/bench/*.ts').filter((path) => !path.endsWith('main.ts'));

    assert.deepEqual(
      [...rows.keys()].toSorted(),
      benches.map((path) => basename(path, '.ts')).toSorted(),
    );
    for (const path of benches) {
      const said = rows.get(basename(path, '.ts'))?.split(', ') ?? [];
      for (const [, figure, limit = '', kind] of readFileSync(path, 'utf8').matchAll(BAR)) {
        const number = limit.replaceAll('_', '');
        const sign = kind === 'least' ? '>=' : '<=';
        const isLiteral = /^[\d.]+$/.test(number);
        const bar = isLiteral ? `\`${figure}\` ${sign} ${number}` : `\`${figure}\``;
        assert.ok(said.includes(bar), `${path}: ${bar}`);
      }
    }
  });

  it('name every alarm of a gateway in docs/operating.md', () => {
    const [, kinds = ''] =
      /type AlarmKind =([^;]+);/.exec(readFileSync('broker/alarms.ts', 'utf8')) ?? [];
    const [, section = ''] = readFileSync('docs/operating.md', 'utf8').split('## 5 Alarms');
    const rows = (section.split('\n## ', 1)[0] ?? '').matchAll(/^\| `([A-Z_]+)` \|/gm);

    assert.deepEqual(
      [...rows].map(([, name]) => name).toSorted(),
      [...kinds.matchAll(/'([A-Z_]+)'/g)].map(([, name]) => name).toSorted(),
    );
  });

  it('list every decision in docs/decisions/README.md', () => {
    const index = readFileSync('docs/decisions/README.md', 'utf8');
    const pages = globSync('docs/decisions/*.md').map((path) => basename(path));

    assert.deepEqual(
      [...index.matchAll(/\]\(([a-z0-9-]+\.md)\)/g)].map(([, page]) => page).toSorted(),
      pages.filter((page) => page !== 'README.md').toSorted(),
    );
  });

  it('name only variables in the pages that .env.example lists', () => {
    const listed = readFileSync('.env.example', 'utf8');
    const pages = globSync(['*.md', 'docs/**/*.md']);
    const unknown = pages.flatMap((page) =>
      [...readFileSync(page, 'utf8').matchAll(/\bDEFAAS_[A-Z_]*[A-Z]\b(?!<)/g)]
        .map(([name]) => name)
        .filter((name) => !listed.includes(name))
        .map((name) => `${name} in ${page}`),
    );

    assert.deepEqual(unknown, []);
  });
});
