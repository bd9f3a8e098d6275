// What the front of a function answers itself, in the forms of Google's front.

import type { Fault } from '../../../emulators/faults.ts';

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Uint8Array;
}

/** Falsifies the shim's figures, as a dishonest function could. */
export function lie(reply: Reply, fault: Fault & { kind: 'lie' }): Reply {
  const headers = { ...reply.headers };
  const times = (name: string, factor: number | undefined) => {
    if (factor !== undefined && headers[name] !== undefined) {
      headers[name] = String(Number(headers[name]) * factor);
    }
  };
  times('x-defaas-duration-ms', fault.billedMs);
  times('x-defaas-memory-mib', fault.memoryMiB);
  return { ...reply, headers };
}

export function plain(status: number, text: string, headers: Record<string, string> = {}): Reply {
  return { status, headers: { 'content-type': 'text/plain', ...headers }, body: Buffer.from(text) };
}

export function tooMany(retryAfterMs?: number): Reply {
  return plain(
    429,
    'Rate exceeded.',
    retryAfterMs === undefined ? {} : { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) },
  );
}

export function unauthorized(): Reply {
  const reply = page(
    401,
    'Unauthorized',
    'Your client does not have permission to the requested URL <code>/</code>.',
  );
  return {
    ...reply,
    headers: { ...reply.headers, 'www-authenticate': 'Bearer error="invalid_token"' },
  };
}

export function page(status: number, title: string, text = ''): Reply {
  const html = `<html><head>
<meta http-equiv="content-type" content="text/html;charset=utf-8">
<title>${status} ${title}</title>
</head>
<body text=#000000 bgcolor=#ffffff>
<h1>Error: ${title}</h1>
<h2>${text}</h2>
<h2></h2>
</body></html>
`;
  return {
    status,
    headers: { 'content-type': 'text/html; charset=UTF-8' },
    body: Buffer.from(html),
  };
}
