// The ports of the emulator, all over TLS: one of Azure Resource Manager, and for each app one of
// its site and one of its SCM site.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { Faults } from '../../emulators/faults.ts';
import { openPort, type Port } from '../../emulators/port.ts';
import type { Certificate } from './certificate.ts';

export type Answer = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

export interface Listeners {
  /** Any free port when `port` is 0. @returns the port. @throws Error EADDRINUSE */
  open(answer: Answer, port: number): Promise<number>;
  /** Opens both ports of an app, on those it had if they are free. */
  openSite(
    name: string,
    answers: Readonly<Record<'site' | 'scm', Answer>>,
    wanted?: { readonly sitePort: number; readonly scmPort: number },
  ): Promise<{ sitePort: number; scmPort: number }>;
  closeScm(name: string): Promise<void>;
  /** Refuses connections to what an outage stops, and accepts them again after it. */
  follow(faults: Faults): Promise<void>;
  close(): Promise<void>;
}

/** As at Azure (4 min, Azure Load Balancer). Adapters close idle sockets sooner. */
const KEEP_ALIVE_MS = 240_000;
const MAX_HEADER_BYTES = 64 * 1024;

export function createListeners(
  { certPem, keyPem }: Pick<Certificate, 'certPem' | 'keyPem'>,
  log: (line: string) => void,
): Listeners {
  const ports: { scope: 'control' | 'invoke'; port: Port; scmOf?: string }[] = [];

  function serve(answer: Answer) {
    const server = createServer(
      {
        cert: certPem,
        key: keyPem,
        keepAliveTimeout: KEEP_ALIVE_MS,
        maxHeaderSize: MAX_HEADER_BYTES,
      },
      (request, response) => {
        answer(request, response).catch((error) => {
          log(`broken ${request.method} ${request.url}: ${error?.stack ?? error}`);
          response.destroy();
        });
      },
    );
    server.requestTimeout = 0;
    return server;
  }

  async function openRole(name: string, role: 'site' | 'scm', answer: Answer, wanted = 0) {
    const server = serve(answer);
    // Another program may have taken the port in the meantime. Then the app gets another port, and
    // the gateway learns the new address with its next deploy.
    const port = await openPort(server, wanted).catch(() => openPort(server, 0));
    ports.push(
      role === 'site' ? { scope: 'invoke', port } : { scope: 'control', port, scmOf: name },
    );
    return port.port;
  }

  return {
    async open(answer, wanted) {
      const port = await openPort(serve(answer), wanted);
      ports.push({ scope: 'control', port });
      return port.port;
    },
    async openSite(name, { site, scm }, wanted) {
      return {
        sitePort: await openRole(name, 'site', site, wanted?.sitePort),
        scmPort: await openRole(name, 'scm', scm, wanted?.scmPort),
      };
    },
    async closeScm(name) {
      const at = ports.findIndex(({ scmOf }) => scmOf === name);
      if (at >= 0) await ports.splice(at, 1)[0]?.port.close();
    },
    async follow(faults) {
      await Promise.all(ports.map(({ scope, port }) => port.refuse(faults.isOut(scope))));
    },
    async close() {
      await Promise.all(ports.map(({ port }) => port.close()));
    },
  };
}
