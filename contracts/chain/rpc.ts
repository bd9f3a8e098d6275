// JSON-RPC over HTTP with failover: asks the URL that answered last, then the others if it does not
// answer.
import { type JsonRpcPayload, JsonRpcProvider, type JsonRpcResult, Network } from 'ethers';
import { ChainError } from './chain-error.ts';

const HTTP_TOO_LARGE = 413;

export interface RpcOptions {
  /** http or https, at least one. */
  readonly urls: readonly string[];
  /** A node that has not answered after this long counts as down, ms. */
  readonly timeoutMs: number;
}

/** Asks the nodes for their chain id. @throws ChainError CHAIN_UNREACHABLE  none answers */
export async function readChainId(options: RpcOptions): Promise<number> {
  const post = createPost(options);
  const [answer] = await post({ id: 1, jsonrpc: '2.0', method: 'eth_chainId', params: [] });
  return Number(answer?.result);
}

/**
 * An ethers provider with failover in its transport. It neither batches nor caches: ethers would
 * wait 10 ms to gather a batch, and would answer with nonces up to 250 ms old.
 */
export class RpcProvider extends JsonRpcProvider {
  readonly #post: Post;

  constructor(chainId: number, options: RpcOptions) {
    const network = Network.from(chainId);
    super(options.urls[0], network, { batchMaxCount: 1, staticNetwork: network, cacheTimeout: -1 });
    this.#post = createPost(options);
  }

  override async _send(payload: JsonRpcPayload | JsonRpcPayload[]): Promise<JsonRpcResult[]> {
    return this.#post(payload);
  }
}

type Post = (payload: JsonRpcPayload | JsonRpcPayload[]) => Promise<JsonRpcResult[]>;

function createPost({ urls, timeoutMs }: RpcOptions): Post {
  let first = 0;
  return async (payload) => {
    const body = JSON.stringify(payload);
    const failures: string[] = [];
    let cause: unknown;
    let isTooLarge = false;
    for (let i = 0; i < urls.length; i += 1) {
      const at = (first + i) % urls.length;
      const url = urls[at] ?? '';
      try {
        const answer = await postOnce(url, body, timeoutMs);
        first = at;
        return answer;
      } catch (error) {
        cause = error;
        isTooLarge ||= error instanceof TooLarge;
        const why = error instanceof Error ? error.message : String(error);
        // fetch repeats a URL that it refuses.
        failures.push(`${hostOf(url)} (${why.replaceAll(url, 'the URL')})`);
      }
    }
    if (isTooLarge) {
      const message = `the node refused, a request of ${body.length} bytes is too large for it`;
      throw new ChainError('CHAIN_REVERTED', message, { cause });
    }
    const message = `no RPC answers: ${failures.join(', ')}; check the RPC URLs`;
    throw new ChainError('CHAIN_UNREACHABLE', message.slice(0, 400), { cause });
  };
}

/**
 * Sends one POST. A JSON-RPC error is an answer; a reply that is not JSON-RPC means that the node
 * is down.
 */
async function postOnce(url: string, body: string, timeoutMs: number): Promise<JsonRpcResult[]> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    signal: AbortSignal.timeout(timeoutMs),
  });
  // Many nodes send a JSON-RPC error with status 400 or 500, so ignore the status and look at the
  // body.
  const text = await response.text();
  if (response.status === HTTP_TOO_LARGE) throw new TooLarge('HTTP 413');
  const answer: unknown = parseJson(text);
  const answers = Array.isArray(answer) ? answer : [answer];
  if (!answers.every(isAnswer)) throw new Error(`HTTP ${response.status} without JSON-RPC`);
  return answers;
}

/** The node, or a proxy before it, refuses a request of this length: the node is not down. */
class TooLarge extends Error {}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isAnswer(answer: unknown): answer is JsonRpcResult {
  return typeof answer === 'object' && answer !== null && ('result' in answer || 'error' in answer);
}

/** Shows only the host, because a URL may carry an API key in its path. */
function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : 'an invalid URL';
}
