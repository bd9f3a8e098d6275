// Functions of events in the Google emulator: the three signatures and the trigger.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type GoogleCloudFunctionsEmulator,
  startGoogleCloudFunctions,
} from '../../../../adapters/google/emulator/emulator.ts';
import { createWire, functionOf, PARENT } from './wire.ts';

const PUBSUB = 'google.cloud.pubsub.topic.v1.messagePublished';
const TOPIC = 'projects/defaas-local/topics/orders';
const MESSAGE = { data: Buffer.from('an order').toString('base64'), attributes: { of: 'tea' } };

/** Writes what it was called with. The test reads it by the logs of the function. */
const BACKGROUND = `exports.hello = (event, context) => {
  console.log('seen ' + JSON.stringify({ event, context }));
};`;
const CLOUD_EVENT = `exports.hello = (event) => { console.log('seen ' + JSON.stringify(event)); };`;

describe('Google Cloud Functions emulator, functions of events', () => {
  let dir: string;
  let emulator: GoogleCloudFunctionsEmulator;
  const { control, upload, done, create, call, accessToken } = createWire(() => emulator);

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-google-events-'));
    emulator = await startGoogleCloudFunctions({ dir, projectId: 'defaas-local' });
  });
  after(async () => {
    await emulator.close();
    rmSync(dir, { recursive: true, force: true });
  });

  /** The event as the cloud posts it: a CloudEvent in binary mode. */
  const cloudEvent = (type: string, source: string, data: object): RequestInit => ({
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'ce-specversion': '1.0',
      'ce-id': '7',
      'ce-time': '2026-01-02T03:04:05.000Z',
      'ce-type': type,
      'ce-source': source,
    },
    body: JSON.stringify(data),
  });
  const pubsubEvent = () =>
    cloudEvent(PUBSUB, `//pubsub.googleapis.com/${TOPIC}`, {
      message: { ...MESSAGE, messageId: '7', publishTime: '2026-01-02T03:04:05.000Z' },
    });

  // biome-ignore lint/suspicious/noExplicitAny: what a function wrote, looked at field by field
  const seenBy = async (id: string): Promise<any> => {
    for (;;) {
      const answer = await fetch(`${emulator.endpoint}/v2/entries:list`, {
        method: 'POST',
        headers: { authorization: `Bearer ${await accessToken()}` },
        body: JSON.stringify({
          resourceNames: ['projects/defaas-local'],
          filter: `resource.labels.service_name="${id}"`,
          orderBy: 'timestamp desc',
        }),
      });
      const { entries = [] } = (await answer.json()) as { entries?: { textPayload?: string }[] };
      const text = entries
        .map(({ textPayload }) => textPayload)
        .find((one) => one?.startsWith('seen '));
      if (text) return JSON.parse(text.slice('seen '.length));
    }
  };
  const signedAs = (type: string) => ({
    buildConfig: { environmentVariables: { GOOGLE_FUNCTION_SIGNATURE_TYPE: type } },
  });

  it('calls a background function with the data and the context of a CloudEvent', async () => {
    const uri = await create('background', signedAs('event'), { 'index.js': BACKGROUND });

    const answer = await call(uri, '/', pubsubEvent());

    assert.equal(answer.status, 204);
    const { event, context } = await seenBy('background');
    assert.equal(event.data, MESSAGE.data);
    assert.deepEqual(event.attributes, MESSAGE.attributes);
    assert.equal(context.eventId, '7');
    assert.equal(context.eventType, 'google.pubsub.topic.publish');
    assert.equal(context.resource.name, TOPIC);
  });

  it('calls a background function with an event in the legacy form', async () => {
    const uri = await create('legacy', signedAs('event'), { 'index.js': BACKGROUND });
    const context = { eventId: '8', eventType: 'google.storage.object.finalize' };

    const answer = await call(uri, '/', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ data: { bucket: 'b', name: 'n' }, context }),
    });

    assert.equal(answer.status, 204);
    assert.deepEqual(await seenBy('legacy'), { event: { bucket: 'b', name: 'n' }, context });
  });

  it('calls a function with an event trigger by CloudEvents, without any registration', async () => {
    const eventTrigger = { eventType: PUBSUB, pubsubTopic: TOPIC };
    const uri = await create('triggered', { eventTrigger }, { 'index.js': CLOUD_EVENT });

    const answer = await call(uri, '/', pubsubEvent());

    assert.equal(answer.status, 204);
    const event = await seenBy('triggered');
    assert.deepEqual([event.id, event.type, event.specversion], ['7', PUBSUB, '1.0']);
    assert.equal(event.data.message.data, MESSAGE.data);
  });

  it('shows the trigger with what the cloud fills in, and keeps its name over an update', async () => {
    await create('shown', { eventTrigger: { eventType: PUBSUB } }, { 'index.js': CLOUD_EVENT });
    const path = `${PARENT}/functions/shown`;

    const { document } = await control('GET', path);
    const update = await control('PATCH', `${path}?updateMask=labels`, { labels: { a: 'b' } });
    const updated = await done(update.document);

    const { trigger, triggerRegion, eventType, pubsubTopic } = document.eventTrigger;
    assert.match(
      trigger,
      /^projects\/defaas-local\/locations\/us-central1\/triggers\/shown-\d{6}$/,
    );
    assert.match(pubsubTopic, /^projects\/defaas-local\/topics\/eventarc-us-central1-shown-/);
    assert.deepEqual([triggerRegion, eventType], ['us-central1', PUBSUB]);
    assert.deepEqual(updated.response.eventTrigger, document.eventTrigger);
  });

  it('refuses triggers and signatures as the cloud does', async () => {
    const storage = 'google.cloud.storage.object.v1.finalized';
    const triggers: Record<string, object> = {
      'no type': { eventFilters: [] },
      'a topic of another type': { eventType: storage, pubsubTopic: TOPIC },
      'a topic of another project': { eventType: PUBSUB, pubsubTopic: 'projects/other/topics/t' },
      'no bucket': { eventType: storage },
      'a filter without value': { eventType: storage, eventFilters: [{ attribute: 'bucket' }] },
      'an unknown operator': {
        eventType: storage,
        eventFilters: [{ attribute: 'bucket', value: 'b', operator: 'like' }],
      },
      'a channel': { eventType: 'com.example.made', channel: 'projects/p/locations/l/channels/c' },
      'an unknown field': { eventType: PUBSUB, topic: TOPIC },
    };
    const source = await upload({ 'index.js': CLOUD_EVENT });
    const post = (id: string, body: object) =>
      control('POST', `${PARENT}/functions?functionId=${id}`, body);

    for (const [what, eventTrigger] of Object.entries(triggers)) {
      const { status, document } = await post('refused', { ...functionOf(source), eventTrigger });
      assert.deepEqual([status, document.error?.status], [400, 'INVALID_ARGUMENT'], what);
    }
    const plain = functionOf(source);
    const { buildConfig } = signedAs('typed');
    const typed = { ...plain, buildConfig: { ...plain.buildConfig, ...buildConfig } };
    const { error } = await done((await post('typed', typed)).document);
    assert.match(error.message, /signature type must be one of: http, event, cloudevent/);
  });
});
