// `npm run fuzz -- [--runs n] [--seed n]`: compares the fast path's reading of requests with Node's
// parser, n times (60,000 by default) from a fresh seed. `npm test` does the same 600 times.
// A failure prints its seed.
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { runs: { type: 'string', default: '60000' }, seed: { type: 'string' } },
});
process.env.FUZZ_RUNS = values.runs;
if (values.seed !== undefined) process.env.FUZZ_SEED = values.seed;
process.argv.splice(2, Infinity, 'test/broker/http/fast-path.test.ts', '--grep', 'as Node does');
await import('./test.ts');
