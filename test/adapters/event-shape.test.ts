// `context.event`: the CloudEvent of a call in one form, whatever its mode, the same on every cloud,
// beside a body and headers that are unchanged.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Deployment, Provider } from '../../adapters/provider.ts';
import { eventOf } from '../../broker/events/codec.ts';
import { createRequest, createSpec } from './conformance.ts';
import { openProviders } from './fixtures/emulated-providers.ts';

const HANDLER = `export default async (request, context) => {
  const bytes = (_, value) =>
    value instanceof Uint8Array ? { bytes: Buffer.from(value).toString('hex') } : value;
  const body = Buffer.from(await request.arrayBuffer()).toString('hex');
  const event = JSON.parse(JSON.stringify(context.event ?? null, bytes));
  const type = request.headers.get('content-type');
  return Response.json({ event, body, type, isSame: context.event === context.event });
};`;

const NAMED = { specversion: '1.0', id: 'a 1', source: '/shop?é', type: 'order.paid', seq: '7' };
const BINARY: readonly (readonly [string, string])[] = [
  ['ce-specversion', '1.0'],
  ['ce-id', '"a 1"'],
  ['ce-source', '/shop?%C3%A9'],
  ['ce-type', 'order.paid'],
  ['ce-seq', '7'],
];
const STRUCTURED = 'application/cloudevents+json; charset=UTF-8';
/** The same event as one in the other mode, with the data that the handler sees. */
const SAME: readonly (readonly [
  title: string,
  binary: readonly [type: string | undefined, body: string],
  structured: object,
  seen: object,
])[] = [
  [
    'JSON data',
    ['application/json', '{"total": 12}'],
    { datacontenttype: 'application/json', data: { total: 12 } },
    { datacontenttype: 'application/json', data: { total: 12 } },
  ],
  [
    'a text',
    ['text/plain', 'grüß'],
    { datacontenttype: 'text/plain', data: 'grüß' },
    { datacontenttype: 'text/plain', data: { bytes: Buffer.from('grüß').toString('hex') } },
  ],
  [
    'bytes',
    ['application/octet-stream', '\u0000\u0001'],
    { datacontenttype: 'application/octet-stream', data_base64: 'AAE=' },
    { datacontenttype: 'application/octet-stream', data: { bytes: '0001' } },
  ],
  [
    'JSON that does not parse',
    ['application/json', '{'],
    { datacontenttype: 'application/json', data_base64: 'ew==' },
    { datacontenttype: 'application/json', data: { bytes: '7b' } },
  ],
  ['no data', [undefined, ''], {}, {}],
];

describe('the event of a call', () => {
  let dir: string;
  let providers: readonly { readonly provider: Provider; readonly deployment: Deployment }[];
  const closing: (() => Promise<void>)[] = [];
  const within = () => ({ signal: AbortSignal.timeout(30_000) });

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-events-'));
    const opened = await openProviders(dir, closing);
    providers = await Promise.all(
      opened.map(async (provider) => {
        const spec = createSpec(provider.regions[0] ?? '', { name: 'df-event', handler: HANDLER });
        return { provider, deployment: await provider.deploy(spec, within()) };
      }),
    );
  });
  after(async () => {
    await Promise.all(providers.map(({ provider }) => provider.close()));
    await Promise.all(closing.map((close) => close()));
    rmSync(dir, { recursive: true, force: true });
  });

  /** What the handler saw; the same on each cloud. */
  async function seen(headers: readonly (readonly [string, string])[], body: string) {
    const request = createRequest({ headers, body: Buffer.from(body) });
    const answers = await Promise.all(
      providers.map(async ({ provider, deployment }) => {
        const result = await provider.invoke(deployment, request, within());
        assert.ok(result.ok, `${provider.name} ${JSON.stringify(result)}`);
        return JSON.parse(Buffer.from(result.body).toString());
      }),
    );
    for (const answer of answers) assert.deepEqual(answer, answers[0]);
    assert.equal(answers.length, 4);
    assert.equal(answers[0].body, Buffer.from(body).toString('hex'));
    assert.equal(answers[0].isSame, true);
    return answers[0];
  }

  for (const [title, [type, body], structured, expected] of SAME) {
    it(`is the same in both modes with ${title}, and has the attributes that the gateway checked`, async () => {
      const headers = [...BINARY, ...(type === undefined ? [] : [['content-type', type] as const])];
      const json = JSON.stringify({ ...NAMED, seq: 7, ...structured });
      const jsonHeaders = [['content-type', STRUCTURED]] as const;

      const binary = await seen(headers, body);
      const whole = await seen(jsonHeaders, json);

      assert.deepEqual(binary.event, { ...NAMED, ...expected });
      assert.deepEqual(whole.event, binary.event);
      assert.equal(whole.type, STRUCTURED);
      const checked = eventOf(headers, Buffer.from(body));
      const { data: _, datacontenttype: __, ...attributes } = binary.event;
      assert.deepEqual(attributes, checked?.attributes);
      assert.equal(checked?.digest, eventOf(jsonHeaders, Buffer.from(json))?.digest);
    });
  }

  it('has JSON data where a structured event names no type', async () => {
    const { event } = await seen(
      [['content-type', STRUCTURED]],
      JSON.stringify({ ...NAMED, data: null }),
    );

    assert.deepEqual(event, { ...NAMED, datacontenttype: 'application/json', data: null });
  });

  it('is undefined for a plain request, and for what cannot be read', async () => {
    const plain = await seen([['content-type', 'application/json']], JSON.stringify(NAMED));
    const broken = await seen([['content-type', STRUCTURED]], '{');

    assert.deepEqual([plain.event, broken.event], [null, null]);
  });
});
