// The addresses that packages are uploaded to. The cloud serves them from Cloud Storage.

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { sendAnswer, spoilBefore } from '../../../emulators/faults.ts';
import { readBody } from '../../../emulators/request-body.ts';
import type { Call, Json } from './operation.ts';
import type { ControlParts } from './parts.ts';

const UPLOAD_PATH = /^\/upload\/([0-9a-f-]{36}\.zip)$/;
/** Largest zip (Cloud Functions quotas, first generation). */
const MAX_ZIP_BYTES = 100 * 1024 * 1024;

export function generateUploadUrl(_call: Call, parts: ControlParts): Json {
  const object = `${randomUUID()}.zip`;
  return {
    uploadUrl: `${parts.endpoint()}/upload/${object}`,
    storageSource: { bucket: `gcf-v2-uploads-${parts.projectId}`, object },
  };
}

/** The name of the object that an upload's path has. Undefined for any other path. */
export function uploadedObject(pathname: string): string | undefined {
  return UPLOAD_PATH.exec(pathname)?.[1];
}

export async function answerUpload(
  parts: ControlParts,
  object: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  parts.log('request', { method: request.method, operation: 'Upload' });
  const fault = parts.faults.take('Upload');
  // Before the body is read, so that a lost connection cuts off the upload.
  if (!(await spoilBefore(response, fault))) return;
  const zip = await readBody(request, MAX_ZIP_BYTES);
  const { authorization, 'content-type': type } = request.headers;
  const isSigned = request.method === 'PUT' && type === 'application/zip' && !authorization;
  let status = isSigned ? 200 : 403;
  if (zip === undefined) status = 413;
  if (fault?.kind === 'status') status = fault.code;
  if (fault?.kind === 'throttle') status = 429;
  if (zip && status === 200) await parts.functions.saveSource(object, zip);
  const text =
    status === 200
      ? ''
      : `<?xml version='1.0' encoding='UTF-8'?><Error><Code>${status === 403 ? 'SignatureDoesNotMatch' : 'InternalError'}</Code></Error>`;
  const headers = { 'content-type': 'application/xml; charset=UTF-8' };
  await sendAnswer(response, { status, headers, body: Buffer.from(text) }, fault);
}
