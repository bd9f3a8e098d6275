import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NextToLast } from 'blockstore-fs/sharding';
import { CID } from 'multiformats/cid';
import { ArtifactError, type ArtifactErrorCode } from '../../ipfs/artifact-error.ts';
import { type ArtifactStore, createArtifactStore } from '../../ipfs/artifact-store.ts';
import { filesToCar, rawCid } from '../../ipfs/car.ts';
import { createIpfsNode, type IpfsNode } from '../../ipfs/node.ts';

const FILES = new Map<string, Uint8Array>([
  ['assets/big.bin', Buffer.alloc(2_500_000, 'big')],
  ['defaas.json', Buffer.from('{"name":"a"}')],
  ['handler.mjs', Buffer.from('export default () => 1;')],
]);
const soon = () => ({ signal: AbortSignal.timeout(5_000) });

describe('the artifact store', () => {
  let dir: string;
  let node: IpfsNode;
  let store: ArtifactStore;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'defaas-store-'));
    node = await createIpfsNode({ dir });
    store = createArtifactStore(node, { maxCarBytes: 4_000_000 });
  });
  after(async () => {
    await node.close();
    await rm(dir, { recursive: true, force: true });
  });

  /** The file that holds the block of these bytes. */
  async function blockFile(bytes: Uint8Array): Promise<string> {
    const { dir: folder, file } = new NextToLast().encode(CID.parse(await rawCid(bytes)));
    return join(dir, 'blocks', folder, file);
  }

  async function refused(
    promise: Promise<unknown>,
    code: ArtifactErrorCode,
    cid = '',
  ): Promise<void> {
    const error = await promise.then(
      () => assert.fail(`${code} expected`),
      (reason) => reason,
    );
    assert.ok(error instanceof ArtifactError, error);
    assert.equal(error.code, code, error.message);
    assert.ok(error.message.includes(cid) && !error.message.includes('\n'), error.message);
  }

  it('returns what was stored, under the CID that the CLI computes without a node', async () => {
    const cid = await store.put(FILES);

    assert.equal(cid, (await filesToCar(FILES)).cid);
    assert.deepEqual(await store.get(cid, soon()), FILES);
    assert.ok(await store.has(cid));
  });

  it('stores the manifest as a block of its own', async () => {
    await store.put(FILES);
    const manifest = FILES.get('defaas.json') ?? assert.fail();

    assert.deepEqual(await store.block(await rawCid(manifest), soon()), manifest);
  });

  it('exports and imports CARs', async () => {
    const { cid, car } = await filesToCar(FILES);

    assert.equal(await store.importCar(car), cid);

    const chunks: Uint8Array[] = [];
    for await (const chunk of store.exportCar(cid, soon())) chunks.push(chunk);
    assert.deepEqual(Buffer.concat(chunks), car);
  });

  it('reports an altered block, and is repaired by storing the same artifact again', async () => {
    const bytes = Buffer.from('to be altered');
    const files = new Map([
      ['a', Buffer.from('a')],
      ['b', bytes],
    ]);
    const cid = await store.put(files);
    const path = await blockFile(bytes);
    const good = await readFile(path);

    for (const altered of [Buffer.from('altered'), Buffer.alloc(0), Buffer.alloc(3_000_000)]) {
      await writeFile(path, altered);
      await refused(store.get(cid, soon()), 'ARTIFACT_CORRUPT', await rawCid(bytes));
      await refused(store.pin(cid, soon()), 'ARTIFACT_CORRUPT');
    }
    await store.put(files);

    assert.deepEqual(await readFile(path), good);
    assert.deepEqual(await store.get(cid, soon()), files);
  });

  it('reports a missing block', async () => {
    const bytes = Buffer.from('to be lost');
    const cid = await store.put(
      new Map([
        ['a', Buffer.from('a')],
        ['b', bytes],
      ]),
    );
    await unlink(await blockFile(bytes));

    await refused(store.get(cid, soon()), 'ARTIFACT_NOT_FOUND', await rawCid(bytes));
    await refused(
      store.block(await rawCid(Buffer.from('never seen')), soon()),
      'ARTIFACT_NOT_FOUND',
    );
    await refused(store.pin(cid, soon()), 'ARTIFACT_NOT_FOUND');
  });

  it('gives up on a block that no peer has after its timeout', async () => {
    const peer = await createIpfsNode({ peers: node.multiaddrs() });
    try {
      const short = createArtifactStore(peer, { fetchMs: 200 });
      await refused(
        short.block(await rawCid(Buffer.from('nobody has it')), soon()),
        'ARTIFACT_NOT_FOUND',
        '1 peers',
      );
    } finally {
      await peer.close();
    }
  });

  it('verifies and stores single blocks', async () => {
    const bytes = Buffer.from('single');
    const cid = await rawCid(bytes);

    await store.putBlock({ cid, bytes });
    await store.pin(cid, soon());
    await store.pin(cid, soon());

    assert.deepEqual(await store.block(cid, soon()), bytes);
    await refused(store.putBlock({ cid, bytes: Buffer.from('other') }), 'ARTIFACT_CORRUPT', cid);
  });

  it('refuses CIDs of a form that it does not use', async () => {
    const others = [
      '',
      'x',
      'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG',
      'bafyaaaaa',
      'bafkqaaa',
    ];
    for (const cid of others) await refused(store.get(cid, soon()), 'ARTIFACT_INVALID');
    const file = Buffer.from('not a directory');
    await store.putBlock({ cid: await rawCid(file), bytes: file });
    await refused(store.get(await rawCid(file), soon()), 'ARTIFACT_INVALID');
  });

  it('refuses CARs that are altered, incomplete, too large or malformed', async () => {
    const { car } = await filesToCar(
      new Map([
        ['a', Buffer.from('only here 1')],
        ['b', Buffer.from('only here 2')],
      ]),
    );
    const altered = Buffer.from(car);
    altered.write('ONLY', altered.indexOf('only here 1'));
    const cut = Buffer.from(car).subarray(0, car.length - 40);

    await refused(store.importCar(altered), 'ARTIFACT_CORRUPT');
    await refused(store.importCar(cut), 'ARTIFACT_INVALID');
    await refused(store.importCar(Buffer.from('hello')), 'ARTIFACT_INVALID');
    await refused(store.importCar(Buffer.alloc(0)), 'ARTIFACT_INVALID');
    await refused(store.importCar(Buffer.alloc(4_000_001)), 'ARTIFACT_TOO_LARGE');
    assert.equal(
      await store.has(await rawCid(Buffer.from('only here 2'))),
      false,
      'nothing is stored',
    );
  });
});
