// What a publisher is told of a version before it becomes public.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deploy } from '../../../scripts/cli/deploy.ts';
import { register } from '../../../scripts/cli/register.ts';
import { type SmallHouse, startSmallHouse } from '../../broker/small-house.ts';
import { type CommandLine, createCommandLine, documentOf, notesOf } from './beside.ts';

const HANDLER = `// A remark that is in the source only.
export default async () => new Response(process.env.GREETING);
`;

describe('what becomes public with a version', function () {
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

  const flags = (json = true) => ({ ...line.flags('publisher'), json });
  function folder(name: string): string {
    const path = join(line.home, name);
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, 'handler.ts'), HANDLER);
    writeFileSync(join(path, 'words.txt'), 'hello');
    const manifest = { name, env: { GREETING: 'hi' }, files: ['words.txt'] };
    writeFileSync(join(path, 'defaas.json'), JSON.stringify(manifest));
    return path;
  }

  it('is listed with its sizes before the upload, and only when there is something new', async () => {
    const path = folder('listed');

    const first = await notesOf(() => register(flags(false), path));
    const again = await notesOf(() => register(flags(false), path));
    const { files } = await documentOf(register(flags(), path));

    assert.match(first, /becomes public on IPFS/);
    assert.match(first, /the values of env \(GREETING\)/);
    assert.ok(first.indexOf('public on IPFS') < first.indexOf('uploading'));
    assert.deepEqual(
      files.map((file: { path: string }) => file.path),
      ['handler.mjs', 'handler.mjs.map', 'words.txt', 'defaas.json'],
    );
    for (const file of files) assert.match(first, new RegExp(` ${file.bytes} bytes  ${file.path}`));
    assert.doesNotMatch(again, /becomes public/);
  });

  it('is said by deploy too, once', async () => {
    const said = await notesOf(() => deploy(flags(false), folder('deployed'), { to: 'aws' }));

    assert.equal(said.split('becomes public on IPFS').length, 2);
  });

  it('holds the text of the sources with --sources only', async () => {
    const path = folder('sources');
    const sizeOf = async (sources: boolean) => {
      const { files, version } = await documentOf(register(flags(), path, { sources }));
      const map = files.find((file: { path: string }) => file.path === 'handler.mjs.map');
      return { version, bytes: map.bytes };
    };

    const without = await sizeOf(false);
    const whole = await sizeOf(true);

    assert.deepEqual([without.version, whole.version], [1, 2]);
    assert.ok(whole.bytes >= without.bytes + HANDLER.length);
  });
});
