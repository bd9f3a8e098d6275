// The metadata server of the Google emulator. As on a machine at Google, it gives the tokens of the
// machine's account to every client that reaches it.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Issuer } from './instances/issuer.ts';

const ROOT = '/computeMetadata/v1/';
const ACCOUNT = `${ROOT}instance/service-accounts/default/`;

interface MetadataParts {
  readonly issuer: Issuer;
  readonly projectId: string;
}

interface Reply {
  readonly status: number;
  readonly body: string;
  readonly type?: string;
}

/**
 * Answers one request. Requires the header `Metadata-Flavor: Google`, which a page in a browser
 * cannot send, and answers with it.
 */
export function answerMetadata(
  parts: MetadataParts,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const { status, body, type = 'application/text' } = replyTo(parts, request);
  response
    .writeHead(status, {
      'metadata-flavor': 'Google',
      server: 'Metadata Server for VM',
      'content-type': type,
    })
    .end(body);
}

function replyTo({ issuer, projectId }: MetadataParts, request: IncomingMessage): Reply {
  const url = new URL(request.url ?? '/', 'http://metadata.google.internal');
  // Needs no header: clients ask here whether this is a metadata server.
  if (url.pathname === '/') return { status: 200, body: 'computeMetadata/\n' };
  if (request.headers['metadata-flavor'] !== 'Google') {
    return { status: 403, body: 'Missing Metadata-Flavor:Google header.\n' };
  }
  switch (url.pathname) {
    case `${ROOT}project/project-id`:
      return { status: 200, body: projectId };
    case `${ROOT}universe/universe-domain`:
      return { status: 200, body: 'googleapis.com' };
    case ACCOUNT:
      return json({ aliases: ['default'], email: issuer.email });
    case `${ACCOUNT}email`:
      return { status: 200, body: issuer.email };
    case `${ACCOUNT}token`: {
      const { token, expiresInSec } = issuer.accessToken();
      return json({ access_token: token, expires_in: expiresInSec, token_type: 'Bearer' });
    }
    case `${ACCOUNT}identity`: {
      const audience = url.searchParams.get('audience');
      if (!audience) return { status: 400, body: 'non-empty audience parameter required\n' };
      return { status: 200, body: issuer.idToken(audience) };
    }
    default:
      return { status: 404, body: 'not found\n' };
  }
}

function json(value: object): Reply {
  return { status: 200, body: JSON.stringify(value), type: 'application/json' };
}
