import assert from 'node:assert/strict';
import { CarReader } from '@ipld/car';
import { decode, encode, prepare } from '@ipld/dag-pb';
import fc from 'fast-check';
import { UnixFS } from 'ipfs-unixfs';
import { CID } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import type { Block } from '../../ipfs/blocks.ts';
import { decodeCar, encodeCar, filesToCar } from '../../ipfs/car.ts';
import { filesFromBlocks, filesToBlocks } from '../../ipfs/unixfs.ts';

const MAX = 64 * 1024 * 1024;
const segment = fc.stringMatching(/^[a-z0-9_-]{1,8}$/);
const paths = fc.uniqueArray(
  fc.tuple(segment, fc.option(segment)).map(([a, b]) => (b === null ? `${a}.txt` : `${a}/${b}`)),
  { minLength: 1, maxLength: 12 },
);
const artifacts = paths.chain((names) =>
  fc
    .array(fc.uint8Array({ maxLength: 64 }), { minLength: names.length, maxLength: names.length })
    .map((contents) => new Map(names.map((name, i) => [name, contents[i] ?? new Uint8Array()]))),
);

describe('a CAR file', () => {
  it('returns its files unchanged, whatever their order was', async () => {
    await fc.assert(
      fc.asyncProperty(artifacts, async (files) => {
        const { cid, car } = await filesToCar(files);
        const { root, blocks } = await decodeCar(car, MAX);
        const back = await filesFromBlocks(root, from(blocks));

        assert.equal(root.toString(), cid);
        assert.deepEqual(
          new Map([...back].sort()),
          new Map([...files].map(([k, v]) => [k, new Uint8Array(v)] as const).sort()),
        );
        assert.equal((await filesToCar(new Map([...files].reverse()))).cid, cid);
      }),
      { numRuns: 50 },
    );
  });

  it('has the same CID for a known artifact as in every release', async () => {
    const files = new Map([
      ['handler.mjs', Buffer.from('export default () => new Response();\n')],
      ['data/big.bin', Buffer.alloc(1_500_000, 'defaas')],
    ]);

    assert.equal(
      (await filesToCar(files)).cid,
      'bafybeigufpb6qb3jn7sx2g5fhjqjugzuw7xhhjfvw5f75vkwocwvhhcbsa',
    );
  });

  it('is a CARv1 that other tools read, in depth-first order', async () => {
    const files = new Map([
      ['b', Buffer.from('2')],
      ['a', Buffer.from('1')],
    ]);
    const { cid, car } = await filesToCar(files);

    const reader = await CarReader.fromBytes(car);

    assert.deepEqual((await reader.getRoots()).map(String), [cid]);
    const texts: string[] = [];
    for await (const block of reader.blocks())
      texts.push(block.cid.code === 0x55 ? Buffer.from(block.bytes).toString() : 'root');
    assert.deepEqual(texts, ['root', '1', '2']);
  });

  it('contains no file times and no file modes', async () => {
    const { root, blocks } = await filesToBlocks(new Map([['a', Buffer.from('1')]]));
    const { Data } = decode(blocks.get(root.toString())?.bytes ?? assert.fail());

    assert.deepEqual(UnixFS.unmarshal(Data ?? assert.fail()).mtime, undefined);
    assert.deepEqual(Buffer.from(Data ?? []), Buffer.from([8, 1]));
  });

  it('with paths that leave the directory is refused', async () => {
    for (const path of ['../a', '/a', 'a//b', 'a/./b', 'a\\b', 'a\0b', '']) {
      await assert.rejects(filesToCar(new Map([[path, Buffer.from('x')]])), {
        code: 'ARTIFACT_INVALID',
      });
    }
    const leaf = await pbBlock('file', []);
    for (const name of ['..', '../a', 'a/../../b', '']) {
      const directory = await pbBlock('directory', [{ name, block: leaf }]);
      await assert.rejects(filesFromBlocks(directory.cid, from([leaf, directory])), {
        code: 'ARTIFACT_INVALID',
      });
    }
  });

  it('with a small DAG that unfolds to a huge one is refused', async () => {
    const directories = [await pbBlock('file', [])];
    const files = [await pbBlock('file', [])];
    for (let depth = 0; depth < 40; depth++) {
      const child = directories.at(-1) ?? assert.fail();
      const part = files.at(-1) ?? assert.fail();
      directories.push(
        await pbBlock('directory', [
          { name: 'a', block: child },
          { name: 'b', block: child },
        ]),
      );
      files.push(
        await pbBlock('file', [
          { name: '', block: part },
          { name: '', block: part },
        ]),
      );
    }
    const wide = directories.at(-1) ?? assert.fail();
    const deep = await pbBlock('directory', [{ name: 'a', block: files.at(-1) ?? assert.fail() }]);

    await assert.rejects(filesFromBlocks(wide.cid, from(directories)), {
      code: 'ARTIFACT_TOO_LARGE',
    });
    await assert.rejects(filesFromBlocks(deep.cid, from([...files, deep])), {
      code: 'ARTIFACT_TOO_LARGE',
    });
  });

  it('with more than one root is refused, and blocks that its root does not reach are left out', async () => {
    const one = await filesToBlocks(new Map([['a', Buffer.from('1')]]));
    const two = await filesToBlocks(new Map([['a', Buffer.from('2')]]));
    const both = [...one.blocks.values(), ...two.blocks.values()];
    const chunks: Uint8Array[] = [];
    for await (const chunk of encodeCar(one.root, both)) chunks.push(chunk);

    const { blocks } = await decodeCar(Buffer.concat(chunks), MAX);

    assert.equal(blocks.length, one.blocks.size);
  });
});

function from(blocks: readonly Block[]): (cid: CID) => Promise<Block> {
  const all = new Map(blocks.map((block) => [block.cid.toString(), block]));
  return async (cid) => all.get(cid.toString()) ?? assert.fail(`no ${cid}`);
}

async function pbBlock(
  type: 'file' | 'directory',
  links: readonly { name: string; block: Block }[],
): Promise<Block> {
  const bytes = encode(
    prepare({
      Data: new UnixFS({ type }).marshal(),
      Links: links.map(({ name, block }) => ({ Name: name, Tsize: 1, Hash: block.cid })),
    }),
  );
  return { bytes, cid: CID.createV1(0x70, await sha256.digest(bytes)) };
}
