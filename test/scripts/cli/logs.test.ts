// `defaas logs` beside a gateway: places in the source, one call's lines, lines of the clouds, and
// new lines as they come.
import assert from 'node:assert/strict';
import { fetchLogs } from '../../../broker/client/logs.ts';
import { followLogs } from '../../../scripts/cli/follow-logs.ts';
import { type LogsOptions, logs } from '../../../scripts/cli/logs.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf, notesOf } from './beside.ts';

interface Line {
  readonly atMs: number;
  readonly level: string;
  readonly text: string;
}

/** Throws on line 6; the bundle has other lines, for it has no types. */
const THROWS = `interface Order {
  readonly id: string;
}

function check(order: Order): never {
  throw new Error('no order ' + order.id);
}

export default async () => check({ id: 'seven' });
`;
const SAYS = `export default async (request: Request, { log }: { log: (...words: unknown[]) => void }) => {
  log('said ' + new URL(request.url).searchParams.get('word'));
  return new Response('ok');
};
`;
const QUIET = `export default async () => new Response('ok');`;

describe('the logs of a function on the command line', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let line: CommandLine;
  before(async () => {
    house = await startSmallHouse();
    line = createCommandLine(house);
  });
  after(async () => {
    line.remove();
    await house.close();
  });

  const flags = () => line.flags('publisher');
  const read = async (name: string | undefined, options: Partial<LogsOptions> = {}) =>
    documentOf(logs(flags(), name, { since: '1h', limit: '200', ...options }));
  const textsOf = (lines: readonly Line[]) => lines.map(({ text }) => text);
  async function callerOf() {
    return house.caller(KEYS.user, await house.openLane(KEYS.user));
  }

  it('shows a thrown error with file and line of the source, and with --raw as it was written', async () => {
    const name = await house.publish('throws', THROWS);
    const call = (await callerOf()).invoke({ function: name });
    await call.catch(() => {});

    const shown = textsOf((await read('throws')).lines).join('\n');
    const raw = textsOf((await read('throws', { raw: true })).lines).join('\n');

    assert.match(shown, /no order seven/);
    assert.match(shown, /at check \(handler\.ts:6:\d+\)/);
    assert.doesNotMatch(shown, /handler\.mjs/);
    assert.match(raw, /handler\.mjs:\d+:\d+/);
  });

  it('hides the lines of the cloud, and says that nothing was logged', async () => {
    const name = await house.publish('quiet', QUIET);
    await (await callerOf()).invoke({ function: name });

    const shown = await read('quiet');
    const raw = await read('quiet', { raw: true });
    const said = await notesOf(() =>
      logs({ ...flags(), json: false }, 'quiet', { since: '1h', limit: '200' }),
    );

    assert.deepEqual(shown.lines, []);
    assert.ok(textsOf(raw.lines).some((text) => text.startsWith('START RequestId: ')));
    assert.match(said, /^nothing was logged by quiet@latest since .*; --raw shows \d+ lines/m);
  });

  it('gives as many lines of the function as were asked for, however many the cloud writes', async () => {
    const name = await house.publish('counted', SAYS);
    const caller = await callerOf();
    for (const word of ['1', '2', '3'])
      await caller.invoke({ function: name, path: `/?word=${word}` });

    const { lines } = await read('counted', { limit: '2' });

    assert.deepEqual(textsOf(lines), ['said 2', 'said 3']);
  });

  it('shows with --receipt the lines of that call only', async () => {
    const name = await house.publish('says', SAYS);
    const caller = await callerOf();
    await caller.invoke({ function: name, path: '/?word=one' });
    const { receipt } = await caller.invoke({ function: name, path: '/?word=two' });
    const id = receipt?.id ?? '';

    const named = await read('says', { receipt: id });
    const unnamed = await read(undefined, { receipt: id });

    assert.deepEqual(textsOf(named.lines), ['said two']);
    assert.deepEqual(unnamed, named);
    await assert.rejects(read('quiet', { receipt: id }), { code: 'USAGE' });
    await assert.rejects(read('says', { receipt: `0x${'1'.repeat(64)}` }), {
      code: 'RECEIPT_UNKNOWN',
    });
  });

  it('follows with --json by a document a line, until it is ended', async () => {
    const name = await house.publish('streamed', SAYS);
    await (await callerOf()).invoke({ function: name, path: '/?word=now' });
    const { write } = process.stdout;
    const written: string[] = [];
    process.stdout.write = (text: string | Uint8Array) => {
      written.push(String(text));
      // Its listeners only: the process goes on.
      process.emit('SIGTERM');
      return true;
    };

    const { document } = await logs(flags(), 'streamed', {
      ...{ since: '1h', limit: '9', follow: true },
    }).finally(() => {
      process.stdout.write = write;
    });

    assert.equal(document, undefined);
    assert.deepEqual(
      written.map((text) => JSON.parse(text).text),
      ['said now'],
    );
  });

  it('follows: writes each line once, though an equal one comes and a reading fails', async () => {
    const name = await house.publish('followed', SAYS);
    const caller = await callerOf();
    const session = await house.session(KEYS.publisher);
    const written: string[] = [];
    const errors: unknown[] = [];
    let readings = 0;
    let end = () => {};
    let added: Promise<unknown> | undefined;
    await caller.invoke({ function: name, path: '/?word=same' });

    await followLogs({
      read: async (sinceMs, limit) => {
        readings += 1;
        if (readings === 2) throw new Error('the gateway is away');
        if (readings === 3) {
          added = caller.invoke({ function: name, path: '/?word=same' });
          await added;
        }
        const request = { owner: KEYS.publisher.address, name: 'followed', version: '1' };
        const found = await fetchLogs(session, {
          ...{ ...request, sinceMs, limit: Math.min(limit, 10_000) },
        });
        const lines = found.lines.filter(({ level }) => level !== 'platform');
        // Both lines as of the same time.
        return lines.map((one) => ({ ...one, atMs: lines[0]?.atMs ?? 0, requestId: 'same' }));
      },
      write: ({ text }) => {
        written.push(text);
        if (written.length === 2) setImmediate(end);
      },
      onError: (error) => errors.push(error),
      ...{ sinceMs: 0, limit: 10, everyMs: 1 },
      ended: new Promise((resolve) => {
        end = resolve;
      }),
    });

    assert.deepEqual(written, ['said same', 'said same']);
    assert.equal(errors.length, 1);
    assert.ok(readings >= 3);
  });
});
