// An RPC URL may hold a key: the gateway shows only the one that its operator offers to everybody.
import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { readConfig } from '../../../broker/config.ts';
import { problemOf, toDefaasError } from '../../../broker/errors.ts';
import { readChainId } from '../../../contracts/chain/rpc.ts';
import { environmentOf, type SmallHouse, startSmallHouse } from '../small-house.ts';

const KEY = 'b1946ac92492d234';
const PUBLIC = 'https://rpc.example/';

describe('the RPC URL of a gateway', function () {
  this.timeout(60_000);
  let house: SmallHouse;
  before(async () => {
    house = await startSmallHouse();
    await house.restart({ chainRpcUrls: [`${house.chain.url}/${KEY}`] });
  });
  after(() => house.close());

  const documents = async (): Promise<string[]> => {
    const paths = [
      '/',
      '/.well-known/defaas',
      '/readyz',
      '/.well-known/oauth-authorization-server',
    ];
    const replies = await Promise.all(paths.map((path) => fetch(`${house.url()}${path}`)));
    return Promise.all(replies.map((reply) => reply.text()));
  };

  it('is in none of its documents', async () => {
    for (const text of await documents()) assert.doesNotMatch(text, new RegExp(`${KEY}|rpcUrl`));
  });

  it('is the public one where the operator has set it', async () => {
    await house.restart({ chainPublicRpcUrl: PUBLIC });

    const [first = '', second = '', ...others] = await documents();

    for (const text of [first, second]) assert.equal(JSON.parse(text).rpcUrl, PUBLIC);
    for (const text of [first, second, ...others]) assert.doesNotMatch(text, new RegExp(KEY));
  });

  it('is in no error: not the URL, and to strangers not its host', async () => {
    for (const url of [
      `http://127.0.0.1:1/${KEY}`,
      `http://user:${KEY}@127.0.0.1:1`,
      `x://${KEY}/`,
    ]) {
      const error = await readChainId({ urls: [`${url}?k=${KEY}`], timeoutMs: 1000 }).catch(
        (thrown: Error) => thrown,
      );
      assert.ok(error instanceof Error);

      const { detail } = problemOf(toDefaasError(error), 'id');
      if (!url.startsWith('x')) assert.doesNotMatch(error.message, new RegExp(KEY));
      assert.doesNotMatch(`${detail}`, new RegExp(`${KEY}|127`));
    }
  });

  it('is http or https without a user name, and not repeated where it is wrong', () => {
    const env = environmentOf(house.dir, house.chain);
    for (const url of [`ws://x/${KEY}`, `https://${KEY}@x`, KEY]) {
      for (const name of ['DEFAAS_CHAIN_RPC_URL', 'DEFAAS_CHAIN_PUBLIC_RPC_URL']) {
        assert.throws(
          () => readConfig({ ...env, [name]: url }),
          (error: Error) => error.message.includes(name) && !inspect(error).includes(KEY),
        );
      }
    }
  });
});
