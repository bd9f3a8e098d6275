// The shim of the `local` provider, in each instance with the publisher's code. The sandbox has no
// network, so calls and answers pass through a descriptor that the process was started with.
//
// A frame in both directions is: length of the head (uint32, big-endian), length of the body
// (likewise), the head as JSON, the body.

import { Socket } from 'node:net';
import { fetchCall, stackOf } from './fetch-call.mjs';

/** Descriptor of the channel to the gateway. */
const CHANNEL = 3;
const PREFIX_BYTES = 8;

const channel = new Socket({ fd: CHANNEL });
let received = [];
let receivedBytes = 0;
let load;
let maxResponseBytes;

channel.on('data', (chunk) => {
  received.push(chunk);
  receivedBytes += chunk.length;
  for (let frame = take(); frame; frame = take()) void obey(frame);
});
// The gateway has gone.
channel.on('close', () => process.exit(0));
channel.on('error', () => process.exit(0));
// Node loads Request on first use. Load it here, not during a call.
void Request;
send({ type: 'started' });

/**
 * The first complete frame of the received bytes. Joins the chunks only when the frame is complete,
 * so that a large body is copied once.
 */
function take() {
  if (receivedBytes < PREFIX_BYTES) return undefined;
  if (received[0].length < PREFIX_BYTES) received = [Buffer.concat(received)];
  const headBytes = received[0].readUInt32BE(0);
  const bytes = PREFIX_BYTES + headBytes + received[0].readUInt32BE(4);
  if (receivedBytes < bytes) return undefined;
  const all = received.length === 1 ? received[0] : Buffer.concat(received);
  received = all.length > bytes ? [all.subarray(bytes)] : [];
  receivedBytes -= bytes;
  const head = JSON.parse(all.toString('utf8', PREFIX_BYTES, PREFIX_BYTES + headBytes));
  return { ...head, body: all.subarray(PREFIX_BYTES + headBytes, bytes) };
}

async function obey({ type, ...frame }) {
  if (type === 'start') await start(frame);
  else await answer(frame);
}

/**
 * The environment comes in a frame. So it has no effect on the start of the process, and no other
 * process can read it.
 */
async function start({ env, handler, ...limits }) {
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, env);
  maxResponseBytes = limits.maxResponseBytes;
  // Each call reports a module that fails, so that it differs from a handler that throws.
  load = await import(handler).then(
    (module) => () => Promise.resolve(module),
    (error) => {
      console.error(stackOf(error));
      return () => Promise.reject(error);
    },
  );
  send({ type: 'ready' });
}

async function answer({ requestId, deadlineMs, isLoadOnly, body, ...incoming }) {
  const outgoing = await fetchCall(
    load,
    { ...incoming, body },
    { provider: 'local', requestId, deadlineMs, isLoadOnly },
  );
  const { outcome, status, headers, error } = outgoing;
  if (error !== undefined) console.error(error);
  if (outgoing.body.length > maxResponseBytes) {
    send({ type: 'too-large', requestId, bytes: outgoing.body.length });
    return;
  }
  const own = headers.filter(([name]) => !name.startsWith('x-defaas-'));
  send({ type: 'answer', requestId, outcome, status, headers: own }, outgoing.body);
}

function send(head, body = new Uint8Array()) {
  const text = Buffer.from(JSON.stringify(head));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(text.length, 0);
  prefix.writeUInt32BE(body.length, 4);
  channel.cork();
  channel.write(prefix);
  channel.write(text);
  if (body.length > 0) channel.write(body);
  channel.uncork();
}
