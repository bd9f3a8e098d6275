// The Lambda API behind `bench clouds`: a process that answers each call alike, as the API does for
// our shim, so that only the caller's work is measured.
import { createServer } from 'node:http';

const REQUEST_ID = '6f1a2c52-9d1e-4f0b-8f43-2f3f1d0c7a11';
const LOG = [
  `START RequestId: ${REQUEST_ID} Version: 1`,
  `END RequestId: ${REQUEST_ID}`,
  `REPORT RequestId: ${REQUEST_ID}\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 60 MB\t`,
];
const BODY = JSON.stringify({
  statusCode: 200,
  headers: { 'content-type': 'application/json', 'x-defaas-outcome': 'ok' },
  cookies: [],
  body: '{"ok":true,"temperature":215,"unit":"celsius"}',
  isBase64Encoded: false,
});
const HEADERS = {
  'content-type': 'application/json',
  'content-length': BODY.length,
  'x-amzn-requestid': REQUEST_ID,
  'x-amz-executed-version': '1',
  'x-amz-log-result': Buffer.from(`${LOG.join('\n')}\n`).toString('base64'),
};

const server = createServer((request, response) => {
  request.resume().on('end', () => response.writeHead(200, HEADERS).end(BODY));
});
server.keepAliveTimeout = 65_000;
server.listen(0, '127.0.0.1', () => process.send?.({ ready: server.address() }));
process.on('disconnect', () => process.exit(0));
