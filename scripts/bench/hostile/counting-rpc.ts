// A JSON-RPC proxy in front of the chain that counts what is asked about one account.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export interface CountingRpc {
  readonly url: string;
  /** `eth_call`s to the account so far. */
  ethCallsTo(account: string): number;
  close(): void;
}

export async function startCountingRpc(upstream: string): Promise<CountingRpc> {
  const calls = new Map<string, number>();
  const count = ({ method, params }: { readonly method: string; readonly params: unknown[] }) => {
    const [call] = params;
    if (method !== 'eth_call' || typeof call !== 'object' || call === null || !('to' in call))
      return;
    const to = String(call.to).toLowerCase();
    calls.set(to, (calls.get(to) ?? 0) + 1);
  };
  const server = createServer(async (request, response) => {
    const body = await text(request);
    for (const one of [JSON.parse(body)].flat()) count(one);
    const headers = { 'content-type': 'application/json' };
    const reply = await fetch(upstream, { method: 'POST', headers, body });
    response.writeHead(reply.status, headers).end(await reply.text());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  // Safe: it listens on TCP.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    ethCallsTo: (account) => calls.get(account.toLowerCase()) ?? 0,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
