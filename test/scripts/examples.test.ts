import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Ajv } from 'ajv';
import { decode, encode } from 'jpeg-js';
import { bundle } from '../../ipfs/bundle.ts';
import { init } from '../../scripts/cli/init.ts';
import { takePhoto, withOrientation } from '../fixtures/photo.ts';

type Handler = (request: Request, context: object) => Promise<Response>;

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FLAGS = { json: true, account: 'user' };
const CONTEXT = { provider: 'aws-lambda' };
const URL_OF_CALL = 'https://function.invalid/';

describe('examples', () => {
  let dir: string;
  let hello: Handler;
  let thumbnail: Handler;
  let bundledMs: number;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'defaas-examples-'));
    hello = await load('hello');
    const startedMs = performance.now();
    thumbnail = await load('thumbnail');
    bundledMs = performance.now() - startedMs;
  });
  after(async () => {
    await rm(dir, { recursive: true, force: true });
  });

  /** The handler as a cloud gets it. */
  async function load(name: string): Promise<Handler> {
    const { files } = await bundle(
      fileURLToPath(new URL(`../../scripts/examples/${name}`, import.meta.url)),
    );
    const path = join(dir, `${name}.mjs`);
    await writeFile(path, files.get('handler.mjs') ?? assert.fail());
    const module: { default: Handler } = await import(pathToFileURL(path).href);
    return module.default;
  }

  async function shrink(body: Uint8Array, query = ''): Promise<ReturnType<typeof decode>> {
    const reply = await thumbnail(
      new Request(URL_OF_CALL + query, { method: 'POST', body: new Uint8Array(body) }),
      CONTEXT,
    );
    assert.equal(reply.status, 200, await reply.clone().text());
    assert.equal(reply.headers.get('content-type'), 'image/jpeg');
    return decode(await reply.arrayBuffer());
  }

  it('hello greets by name and says where it runs', async () => {
    const reply = await hello(new Request(`${URL_OF_CALL}?name=Ada`, { method: 'PUT' }), CONTEXT);

    assert.equal(reply.status, 200);
    assert.deepEqual(await reply.json(), {
      greeting: 'Hello, Ada!',
      method: 'PUT',
      provider: 'aws-lambda',
    });
  });

  it('paid tells valid IBANs from others', async () => {
    const paid = await load('paid');
    const ask = async (query: string) => {
      const reply = await paid(new Request(URL_OF_CALL + query), CONTEXT);
      return [reply.status, await reply.json()];
    };
    const [iban, wrong] = ['DE89370400440532013000', 'DE88370400440532013000'];

    assert.deepEqual(await ask('?iban=de89 3704 0044 0532 0130 00'), [
      200,
      { iban, valid: true, country: 'DE' },
    ]);
    assert.deepEqual(await ask(`?iban=${wrong}`), [200, { iban: wrong, valid: false }]);
    assert.deepEqual(await ask('?iban=x'), [200, { iban: 'X', valid: false }]);
    assert.deepEqual((await ask(''))[0], 400);
  });

  it('webhook takes what the sender signed, byte for byte, and nothing else', async () => {
    const webhook = await load('webhook');
    // The example of GitHub's manual, with its signature.
    const secret = "It's a Secret to Everybody";
    const signature = '757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17';
    const status = async (body: string, header?: string, method = 'POST') => {
      const headers = { ...(header !== undefined && { 'x-hub-signature-256': header }) };
      const init = { method, headers, ...(method === 'POST' && { body }) };
      const reply = await webhook(new Request(URL_OF_CALL, init), { ...CONTEXT, log: () => {} });
      return reply.status;
    };
    const ofJson = createHmac('sha256', secret).update('{"action":"opened"}').digest('hex');
    await assert.rejects(status('{}', 'sha256=00'), /WEBHOOK_SECRET is not set/);
    process.env.WEBHOOK_SECRET = secret;
    try {
      assert.equal(await status('{"action":"opened"}', `sha256=${ofJson}`), 204);
      assert.equal(await status('{"action": "opened"}', `sha256=${ofJson}`), 401);
      assert.equal(await status('{"action":"opened"}'), 401);
      // Signed, and no JSON.
      assert.equal(await status('Hello, World!', `sha256=${signature}`), 400);
      assert.equal(await status('', undefined, 'GET'), 405);
    } finally {
      delete process.env.WEBHOOK_SECRET;
    }
  });

  for (const template of ['hello', 'paid', 'webhook', 'thumbnail']) {
    it(`${template} is checked by TypeScript and by the schema beside it, after init`, async () => {
      const folder = join(dir, `my-${template}`);
      await init(FLAGS, folder, { template });
      const written = JSON.parse(await readFile(join(folder, 'defaas.json'), 'utf8'));
      const schema = JSON.parse(await readFile(join(folder, written.$schema), 'utf8'));
      await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
      const typescript = join(ROOT, 'node_modules/typescript/bin/tsc');

      const { stdout, status } = spawnSync(process.execPath, [typescript, '--noEmit'], {
        cwd: folder,
        encoding: 'utf8',
      });

      assert.equal(status, 0, stdout);
      assert.equal(written.name, `my-${template}`);
      assert.ok(new Ajv({ strict: false }).validate(schema, written));
      assert.ok((await bundle(folder)).files.has('handler.mjs'));
    });
  }

  it('thumbnail is bundled in less than 2 s', () => {
    assert.ok(bundledMs < 2000, `${bundledMs} ms`);
  });

  it('thumbnail makes a photo 160 pixels wide, and what is seen on it stays the same', async () => {
    const photo = takePhoto();

    const small = await shrink(photo);

    assert.deepEqual([small.width, small.height], [160, 120]);
    const expected = averageTenByTen(decode(photo));
    let difference = 0;
    for (const [index, value] of expected.entries()) {
      if (index % 4 < 3) difference += Math.abs(value - (small.data[index] ?? 0));
    }
    assert.ok(
      difference / (160 * 120 * 3) < 3,
      `mean difference ${difference / (160 * 120 * 3)} of 255`,
    );
  });

  it('thumbnail takes the width from the query and never enlarges', async () => {
    const photo = takePhoto(300, 200);

    const narrow = await shrink(photo, '?width=77');
    const wide = await shrink(photo, '?width=2000');

    assert.deepEqual([narrow.width, narrow.height], [77, 51]);
    assert.deepEqual([wide.width, wide.height], [300, 200]);
  });

  it('thumbnail turns a picture upright', async () => {
    // Corners of the upright picture, clockwise from the upper left, as each orientation stores
    // them.
    const stored = ['rgbw', 'grwb', 'bwrg', 'wbgr', 'rwbg', 'gbwr', 'bgrw', 'wrgb'];
    for (const [index, corners] of stored.entries()) {
      const isAside = index >= 4;
      const picture = paintCorners(corners, isAside ? 64 : 96, isAside ? 96 : 64);

      const small = await shrink(withOrientation(picture, index + 1), '?width=48');

      assert.deepEqual([small.width, small.height], [48, 32], `orientation ${index + 1}`);
      assert.equal(readCorners(small), 'rgbw', `orientation ${index + 1}`);
    }
  });

  it('thumbnail reports what is wrong with a request', async () => {
    const photo = takePhoto(64, 48);
    const cases: [status: number, query: string, init: RequestInit][] = [
      [405, '', { method: 'GET' }],
      [400, '?width=0', { method: 'POST', body: new Uint8Array(photo) }],
      [400, '?width=wide', { method: 'POST', body: new Uint8Array(photo) }],
      [400, '', { method: 'POST' }],
      [400, '', { method: 'POST', body: new Uint8Array(photo.subarray(0, 400)) }],
      [415, '', { method: 'POST', body: 'GIF89a' }],
    ];
    for (const [status, query, init] of cases) {
      const reply = await thumbnail(new Request(URL_OF_CALL + query, init), CONTEXT);

      assert.equal(reply.status, status, query);
      assert.match(await reply.text(), /^\{"error":"[^"]+/);
    }
  });
});

interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** Each 10 x 10 pixels as one, averaged in linear light one by one. */
function averageTenByTen({ width, height, data }: Picture): number[] {
  const light = Float64Array.from({ length: 256 }, (_, value) =>
    value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4,
  );
  const toValue = (mean: number) =>
    255 * (mean <= 0.0031308 ? mean * 12.92 : 1.055 * mean ** (1 / 2.4) - 0.055);
  const sums = new Float64Array((width / 10) * (height / 10) * 4);
  for (const [index, value] of data.entries()) {
    const pixel = index >> 2;
    const x = Math.floor((pixel % width) / 10);
    const y = Math.floor(pixel / width / 10);
    const at = (y * (width / 10) + x) * 4 + (index & 3);
    sums[at] = (sums[at] ?? 0) + (light[value] ?? 0);
  }
  return Array.from(sums, (sum) => toValue(sum / 100));
}

const COLOURS: Readonly<Record<string, readonly number[]>> = {
  r: [255, 0, 0],
  g: [0, 255, 0],
  b: [0, 0, 255],
  w: [255, 255, 255],
};

/** Four quarters, clockwise from the upper left. */
function paintCorners(corners: string, width: number, height: number): Uint8Array {
  const data = new Uint8Array(width * height * 4);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const isRight = x >= width / 2;
      const index = y < height / 2 ? Number(isRight) : 3 - Number(isRight);
      data.set([...(COLOURS[corners[index] ?? ''] ?? []), 255], (y * width + x) * 4);
    }
  }
  return encode({ width, height, data }, 95).data;
}

function readCorners({ width, height, data }: Picture): string {
  const points = [
    [0.25, 0.25],
    [0.75, 0.25],
    [0.75, 0.75],
    [0.25, 0.75],
  ] as const;
  return points
    .map(([u, v]) => {
      const at = (Math.floor(v * height) * width + Math.floor(u * width)) * 4;
      const isLit = [0, 1, 2].map((colour) => (data[at + colour] ?? 0) > 128);
      return Object.keys(COLOURS).find((name) =>
        isLit.every((lit, i) => lit === (COLOURS[name]?.[i] === 255)),
      );
    })
    .join('');
}
