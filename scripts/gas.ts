// `npm run -s gas`: compares the gas of every action with the committed snapshot; `-- --update`
// rewrites the snapshot. Exit code 1 if a figure has changed. `bench gas` has the bars.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { measureGas } from './bench/gas/measure.ts';
import { changesOf, readSnapshot, SNAPSHOT } from './bench/gas/snapshot.ts';
import { formatTable } from './cli/table.ts';

const { values } = parseArgs({ options: { update: { type: 'boolean', default: false } } });
const { figures } = await measureGas((line) => process.stderr.write(`  ${line}\n`));
const changes = changesOf(readSnapshot(), figures);
const rows = changes.map(({ figure, was, is }) => [figure, `${was ?? '-'}`, `${is ?? '-'}`]);
if (rows.length > 0) console.log(formatTable(['figure', 'snapshot', 'now'], rows));
if (values.update) writeFileSync(SNAPSHOT, `${JSON.stringify(figures, null, 2)}\n`);
console.log(`${Object.keys(figures).length} figures, ${changes.length} changed`);
process.exitCode = changes.length === 0 || values.update ? 0 : 1;
