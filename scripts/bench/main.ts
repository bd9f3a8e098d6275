// `npm run -s bench -- <name> [--json]`: runs one benchmark of this folder, prints its figures and
// whether its bars hold. Exit code 1 when one does not. A benchmark is a file that exports `run`.
import { execFileSync } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { cpus } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { errorLine } from '../cli/cli-error.ts';
import { formatTable } from '../cli/table.ts';

/** Upper bound of a figure; `least` is a lower bound. */
export interface Bar {
  readonly figure: string;
  readonly limit: number;
  readonly kind?: 'most' | 'least';
}

export interface Benchmark {
  /** `null` if it was not measured. */
  readonly figures: Readonly<Record<string, number | null>>;
  readonly bars: readonly Bar[];
  /** Details behind the figures: all rounds, other rows. */
  readonly details?: unknown;
}

/** What a benchmark's file exports. `report` receives progress messages. */
export type Run = (report: (line: string) => void) => Promise<Benchmark>;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean', default: false } },
  });
  const [name = ''] = positionals;
  const names = globSync('*.ts', { cwd: import.meta.dirname })
    .map((file) => basename(file, '.ts'))
    .filter((file) => file !== 'main')
    .sort();
  if (!names.includes(name)) {
    process.stderr.write(`USAGE: no benchmark "${name}", use one of ${names.join(', ')}\n`);
    return 2;
  }
  // Each benchmark's file exports `run`, which the compiler cannot see through a computed name.
  const { run }: { run: Run } = await import(join(import.meta.dirname, `${name}.ts`));
  const { figures, bars, details } = await run((line) => {
    if (!values.json) process.stderr.write(`  ${line}\n`);
  });
  const judged = bars.map((bar) => ({ ...bar, holds: holds(figures[bar.figure], bar) }));
  const document = {
    name,
    commit: commitOf(),
    machine: { cpu: cpus()[0]?.model ?? '', cores: cpus().length, node: process.versions.node },
    figures,
    bars: judged.map(({ figure, limit, holds }) => ({ figure, limit, holds })),
    ...(details !== undefined && { details }),
  };
  if (values.json) console.log(JSON.stringify(document, null, 2));
  else {
    const rows = Object.entries(figures).map(([figure, value]) => {
      const bar = judged.find((one) => one.figure === figure);
      const sign = bar?.kind === 'least' ? '>=' : '<=';
      return [
        figure,
        value === null ? '-' : String(value),
        bar ? `${sign} ${bar.limit}` : '',
        bar?.holds === false ? 'FAILS' : '',
      ];
    });
    console.log(formatTable(['figure', 'value', 'bar', ''], rows));
  }
  return judged.every((bar) => bar.holds) ? 0 : 1;
}

/** A figure that was not measured fails its bar. */
function holds(value: number | null | undefined, { limit, kind }: Bar): boolean {
  if (value === undefined || value === null) return false;
  return kind === 'least' ? value >= limit : value <= limit;
}

/** The checkout's commit, with `+` if it has uncommitted changes; empty outside of a checkout. */
function commitOf(): string {
  if (!existsSync('.git')) return '';
  const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8' }).trim();
  const isChanged = git('status', '--porcelain', '--untracked-files=no') !== '';
  return `${git('rev-parse', '--short', 'HEAD')}${isChanged ? '+' : ''}`;
}

process.exitCode = await main().catch((error: unknown) => {
  process.stderr.write(`${errorLine(error)}\n${error instanceof Error ? error.stack : ''}\n`);
  return 1;
});
