// A JSON-RPC proxy in front of a node: it refuses, drops or answers single requests as a test says.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface RpcRequest {
  readonly id: number;
  readonly method: string;
  readonly params: readonly unknown[];
}

/** A JSON-RPC answer without its id, an HTTP status, or undefined: the node behind is asked. */
export type RpcAnswer =
  | { readonly result: unknown }
  | { readonly error: { readonly code: number; readonly message: string } }
  | { readonly status: number }
  | undefined;

export interface RpcProxy {
  readonly url: string;
  /** How requests are answered from now on; by the node behind where it gives undefined. */
  answer(how: (request: RpcRequest) => RpcAnswer | Promise<RpcAnswer>): void;
  /** Asks the node behind. */
  ask(method: string, params: readonly unknown[]): Promise<unknown>;
  /** Methods asked for so far. */
  readonly asked: string[];
  close(): Promise<void>;
}

/** Listens on this machine, before the node at `upstream`, which may be changed at any time. */
export async function startRpcProxy(upstream: () => string): Promise<RpcProxy> {
  let how: (request: RpcRequest) => RpcAnswer | Promise<RpcAnswer> = () => undefined;
  const asked: string[] = [];
  const post = async (body: string): Promise<string> => {
    const headers = { 'content-type': 'application/json' };
    return (await fetch(upstream(), { method: 'POST', headers, body })).text();
  };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const parsed: RpcRequest = JSON.parse(body);
    asked.push(parsed.method);
    const answer = await how(parsed);
    const status = answer !== undefined && 'status' in answer ? answer.status : 200;
    const text =
      answer === undefined
        ? await post(body)
        : JSON.stringify({ jsonrpc: '2.0', id: parsed.id, ...answer });
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(status === 200 ? text : '');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // a TCP server's address
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    answer: (next) => {
      how = next;
    },
    ask: async (method, params) => {
      const answer = JSON.parse(
        await post(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })),
      );
      if (answer.error) throw new Error(answer.error.message);
      return answer.result;
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
