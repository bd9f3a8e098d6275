// Tables for people: plain columns that can be copied as text.
import Table from 'cli-table3';

const NO_LINES = Object.fromEntries(
  ['top', 'bottom', 'left', 'right', 'mid'].flatMap((side) => [
    [side, ''],
    [`${side}-mid`, ''],
    [`${side}-left`, ''],
    [`${side}-right`, ''],
  ]),
);

/** Numbers are right-aligned; `head` names the columns. */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly (string | number | bigint)[])[],
): string {
  const isNumber = (column: number) =>
    rows.every((row) => typeof row[column] !== 'string' || /^-?[\d.]+$/.test(row[column]));
  const table = new Table({
    head: [...head],
    chars: { ...NO_LINES, middle: '  ' },
    colAligns: head.map((_, column) => (rows.length > 0 && isNumber(column) ? 'right' : 'left')),
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  for (const row of rows) table.push(row.map(String));
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}
