import assert from 'node:assert/strict';
import { eventOf } from '../../../broker/events/codec.ts';
import type { Headers } from '../../../broker/invocation/invocation.ts';

const NO_BODY = new Uint8Array();
const binary: Headers = [
  ['content-type', 'application/json'],
  ['ce-specversion', '1.0'],
  ['ce-id', 'a1'],
  ['ce-source', '/orders'],
  ['ce-type', 'com.example.paid'],
];
const structured: Headers = [['content-type', 'application/cloudevents+json']];
const event = { specversion: '1.0', id: 'a1', source: '/orders', type: 'com.example.paid' };

function readBinary(...more: Headers) {
  return eventOf([...binary, ...more], NO_BODY)?.attributes;
}

function readStructured(value: unknown, headers = structured) {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return eventOf(headers, Buffer.from(text, 'utf8'))?.attributes;
}

describe('the CloudEvents codec', () => {
  it('takes an ordinary request for no event', () => {
    assert.equal(eventOf([['content-type', 'application/json']], NO_BODY), undefined);
    assert.equal(eventOf([['ce-id', 'a1']], NO_BODY), undefined);
  });

  it('reads binary mode and undoes quotes and one round of percent-encoding', () => {
    const read = readBinary(
      ['ce-subject', 'Euro%20%E2%82%AC%20%F0%9F%98%80'],
      ['ce-a', '"x \\"y\\""'],
      ['ce-b', '%2525'],
    );

    assert.deepEqual(read, { ...event, subject: 'Euro € 😀', a: 'x "y"', b: '%25' });
  });

  it('reads structured mode, whatever the case of the media type, and leaves null unset', () => {
    const read = readStructured(
      { ...event, subject: null, data: { a: 1 }, n: -2147483648, ok: true },
      [['content-type', 'APPLICATION/CLOUDEVENTS+JSON; charset="UTF-8"']],
    );

    assert.deepEqual(read, { ...event, n: '-2147483648', ok: 'true' });
  });

  const refusedHeaders: [title: string, header: [string, string]][] = [
    ['bytes that are no UTF-8', ['ce-subject', '%C0%A0']],
    ['a broken percent sequence', ['ce-subject', '50%']],
    ['raw non-ASCII', ['ce-subject', 'ü']],
    ['an empty subject', ['ce-subject', '']],
    ['ce-datacontenttype', ['ce-datacontenttype', 'text/plain']],
    ['an attribute that came twice', ['ce-id', 'a2']],
    ['a name with an underscore', ['ce-foo_bar', 'x']],
    ['ce-data', ['ce-data', 'x']],
    ['a name that objects have', ['ce-__proto__', 'x']],
    ['a time that is no timestamp', ['ce-time', 'yesterday']],
    ['a relative dataschema', ['ce-dataschema', '/schema']],
    ['a control character', ['ce-subject', 'a%00b']],
  ];
  for (const [title, header] of refusedHeaders) {
    it(`refuses ${title} in binary mode`, () => {
      assert.throws(() => readBinary(header), { code: 'EVENT_INVALID', status: 400 });
    });
  }

  for (const name of ['id', 'source', 'type']) {
    it(`refuses binary mode without ce-${name}`, () => {
      const headers = binary.filter(([header]) => header !== `ce-${name}`);

      assert.throws(() => eventOf(headers, NO_BODY), { code: 'EVENT_INVALID', status: 400 });
    });
  }

  const refusedBodies: [title: string, body: unknown][] = [
    ['no JSON', '{'],
    ['an array', []],
    ['trailing bytes', `${JSON.stringify(event)} x`],
    ['a byte-order mark', `\ufeff${JSON.stringify(event)}`],
    ['a missing id', { ...event, id: undefined }],
    ['an empty type', { ...event, type: '' }],
    ['a number as id', { ...event, id: 5 }],
    ['a boolean as id', { ...event, id: true }],
    ['a number as time', { ...event, time: 2026 }],
    ['a number as subject', { ...event, subject: 1 }],
    ['30 February', { ...event, time: '2026-02-30T00:00:00Z' }],
    ['29 February of a common year', { ...event, time: '2026-02-29T00:00:00Z' }],
    ['an object as XML', { ...event, datacontenttype: 'application/xml', data: { a: 1 } }],
    ['a number as text', { ...event, datacontenttype: 'text/plain', data: 1 }],
    ['specversion 2.0', { ...event, specversion: '2.0' }],
    ['an object as extension', { ...event, ext: {} }],
    ['a fraction', { ...event, ext: 1.5 }],
    ['an integer beyond 32 bits', { ...event, ext: 2147483648 }],
    ['data beside data_base64', { ...event, data: 1, data_base64: '' }],
    ['bad base64', { ...event, data_base64: 'a' }],
    [
      'a member that comes twice',
      '{"specversion":"1.0","id":"a","id":"b","source":"/","type":"t"}',
    ],
    [
      'one that comes twice, far from its colon',
      `{"id":"a","specversion":"1.0","source":"/","type":"t","id"${' '.repeat(64)}:"b"}`,
    ],
    [
      'one that comes twice, written with an escape',
      '{"id":"a","specversion":"1.0","source":"/","type":"t","\\u0069d":"b"}',
    ],
    [
      'a name that objects have',
      '{"specversion":"1.0","id":"a","source":"/","type":"t","__proto__":"x"}',
    ],
    ['data with data_base64 that is cut', { ...event, data_base64: `${'QUJD'.repeat(9)}QUI` }],
    ['padding within data_base64', { ...event, data_base64: 'QQ==QUJD' }],
    ['an escape that is none', '{"\\x":1}'],
    ['a string without an end', '{"id'],
    ['deep nesting', { ...event, data: JSON.parse(`${'['.repeat(65)}${']'.repeat(65)}`) }],
    ['a noncharacter', { ...event, subject: '\uffff' }],
    ['a lone surrogate', `{"specversion":"1.0","id":"\\ud800","source":"/","type":"t"}`],
  ];
  for (const [title, body] of refusedBodies) {
    it(`refuses ${title} in structured mode`, () => {
      assert.throws(() => readStructured(body), { code: 'EVENT_INVALID', status: 400 });
    });
  }

  it('accepts attributes with any name of a-z and 0-9, also names of object members', () => {
    const read = readStructured({
      ...event,
      constructor: 'x',
      data: { __proto__: null, '"': '\\' },
    });

    assert.deepEqual(read, { ...event, constructor: 'x' });
    assert.deepEqual(readBinary(['ce-constructor', 'x']), { ...event, constructor: 'x' });
  });

  it('takes leap days, and text of any media type', () => {
    const xml = { ...event, datacontenttype: 'application/xml', time: '2028-02-29T12:00:00+01:00' };

    assert.deepEqual(readStructured({ ...xml, data: '<a/>' }), xml);
    assert.deepEqual(readStructured({ ...event, datacontenttype: 'a/b+json', data: {} }), {
      ...event,
      datacontenttype: 'a/b+json',
    });
  });

  it('gives an event the same digest in each mode, however it is spelled', () => {
    const digestOf = (headers: Headers, body: string) =>
      eventOf(headers, Buffer.from(body))?.digest;
    const data = { b: [1, { d: null, c: 'x' }], a: 'ü' };
    const first = digestOf(binary, JSON.stringify(data));

    for (const again of [
      digestOf([...binary, ['user-agent', 'other'], ['x-any', '1']], JSON.stringify(data)),
      digestOf(binary, JSON.stringify({ a: 'ü', b: data.b }, undefined, 2)),
      digestOf(structured, JSON.stringify({ ...event, data })),
      digestOf(structured, JSON.stringify({ data, datacontenttype: 'application/json', ...event })),
    ]) {
      assert.equal(again, first);
    }
    for (const other of [
      digestOf(binary, JSON.stringify({ ...data, a: 'u' })),
      digestOf([...binary, ['ce-subject', 's']], JSON.stringify(data)),
      digestOf(structured, JSON.stringify({ ...event, type: 'other', data })),
    ]) {
      assert.notEqual(other, first);
    }
    const bare = eventOf(binary.slice(1), NO_BODY)?.digest;
    assert.equal(digestOf(structured, JSON.stringify(event)), bare);
    assert.notEqual(digestOf(structured, JSON.stringify({ ...event, data: null })), bare);
    const bytes = Buffer.from([0, 255, 1]);
    const octets: Headers = [['content-type', 'application/octet-stream'], ...binary.slice(1)];
    assert.equal(
      eventOf(octets, bytes)?.digest,
      digestOf(
        structured,
        JSON.stringify({
          ...event,
          datacontenttype: 'application/octet-stream',
          data_base64: bytes.toString('base64'),
        }),
      ),
    );
  });

  it('takes data of the largest body, as text and as base64', () => {
    const data = `"\\\n`.repeat(1_000_000);

    assert.deepEqual(readStructured({ ...event, data }), event);
    assert.deepEqual(readStructured({ ...event, data_base64: 'QUJD'.repeat(1_500_000) }), event);
  });

  it('takes 256 attributes and data, and refuses one more in either mode', () => {
    const names = Array.from({ length: 252 }, (_, i) => `a${i}`);
    const extensions = Object.fromEntries(names.map((name) => [name, 1]));

    const read = readStructured({ ...event, ...extensions, data: extensions });

    assert.equal(Object.keys(read ?? {}).length, 256);
    const refused = { code: 'EVENT_INVALID' };
    assert.throws(() => readStructured({ ...event, ...extensions, b: 1 }), refused);
    assert.throws(() => readStructured({ ...event, ...extensions, b: 1, data: 1 }), refused);
    const headers = names.map((name): [string, string] => [`ce-${name}`, '1']);
    assert.equal(Object.keys(readBinary(...headers) ?? {}).length, 256);
    assert.throws(() => readBinary(...headers, ['ce-b', '1']), refused);
  });

  it('refuses an event with half a million members before it has read them all', () => {
    const members = Array.from({ length: 500_000 }, (_, i) => `"a${i}":1`).join(',');
    const body = Buffer.from(`{"specversion":"1.0","id":"1","source":"/s","type":"t",${members}}`);

    const tookMs = [1, 2, 3].map(() => {
      const beganAtMs = performance.now();
      assert.throws(() => eventOf(structured, body), { code: 'EVENT_INVALID' });
      return performance.now() - beganAtMs;
    });

    assert.ok(Math.min(...tookMs) < 100, `${tookMs} ms`);
  });

  it('answers 415 to batches, other CloudEvents formats and other charsets', () => {
    for (const type of [
      'application/cloudevents-batch+json',
      'application/cloudevents+avro',
      'application/cloudevents+json; charset=latin1',
    ]) {
      assert.throws(() => readStructured(event, [['content-type', type]]), {
        code: 'MEDIA_TYPE_UNSUPPORTED',
        status: 415,
      });
    }
  });
});
