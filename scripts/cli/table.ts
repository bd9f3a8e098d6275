// Tables for people: plain columns that can be copied as text. Where they are piped every cell is
// whole; on a terminal they fit its width.
import Table from 'cli-table3';

type Cell = string | number | bigint;

const NO_LINES = Object.fromEntries(
  ['top', 'bottom', 'left', 'right', 'mid'].flatMap((side) => [
    [side, ''],
    [`${side}-mid`, ''],
    [`${side}-left`, ''],
    [`${side}-right`, ''],
  ]),
);
const GAP = '  ';
/** Addresses, hashes and CIDs. */
const LONG_ID = /\b(0x[0-9a-f]{8}|baf[a-z0-9]{7})[0-9a-z]{8,}([0-9a-z]{4})\b/g;

/**
 * Numbers are right-aligned; `head` names the columns. What is wider than `width` gets its long ids
 * shortened, then its cells wrapped between words; if that is not enough, each row becomes a list.
 */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
  width = terminalWidth(),
): string {
  const whole = [head, ...rows].map((row) => row.map(String));
  if (sum(widthsOf(whole, longestLine)) <= roomFor(head, width)) return columns(whole);
  const short = whole.map((row) => row.map(shorten));
  const least = widthsOf(short, longestWord);
  if (sum(least) > roomFor(head, width)) return lists(short, width);
  return columns(short, narrowed(widthsOf(short, longestLine), least, roomFor(head, width)));
}

function terminalWidth(): number {
  return process.stdout.isTTY ? process.stdout.columns || Infinity : Infinity;
}

function roomFor(head: readonly string[], width: number): number {
  return width - GAP.length * (head.length - 1);
}

function columns([head = [], ...rows]: readonly string[][], widths?: readonly number[]): string {
  const isNumber = (column: number) => rows.every((row) => /^-?[\d.]+$/.test(row[column] ?? ''));
  const table = new Table({
    head,
    chars: { ...NO_LINES, middle: GAP },
    colAligns: head.map((_, column) => (rows.length > 0 && isNumber(column) ? 'right' : 'left')),
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    ...(widths && { colWidths: [...widths], wordWrap: true }),
  });
  table.push(...rows);
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

/** One line for each cell that says something, an empty line between two rows. */
function lists([head = [], ...rows]: readonly string[][], width: number): string {
  const indent = Math.max(...head.map(longestLine)) + GAP.length;
  const cell = (name: string, text: string): string =>
    `${name.padEnd(indent)}${wrap(text, width - indent).join(`\n${' '.repeat(indent)}`)}`.trimEnd();
  return rows
    .map((row) =>
      row
        .flatMap((text, column) => (text === '' ? [] : [cell(head[column] ?? '', text)]))
        .join('\n'),
    )
    .join('\n\n');
}

/** Takes from the widest columns first. */
function narrowed(
  natural: readonly number[],
  least: readonly number[],
  room: number,
): readonly number[] {
  const widths = [...natural];
  for (let over = sum(widths) - room; over > 0; over--) {
    const spare = widths.map((width, column) => (width > (least[column] ?? 0) ? width : 0));
    const widest = spare.indexOf(Math.max(...spare));
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}

/** Lines of at most `width` characters; a longer word has a line of its own. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}

function shorten(text: string): string {
  return text.replaceAll(LONG_ID, '$1…$2');
}

function widthsOf(rows: readonly string[][], of: (text: string) => number): number[] {
  return (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => of(row[column] ?? ''))));
}

function longestLine(text: string): number {
  return Math.max(...text.split('\n').map((line) => line.length));
}

function longestWord(text: string): number {
  return Math.max(...text.split(/\s+/).map((word) => word.length));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, one) => all + one, 0);
}
