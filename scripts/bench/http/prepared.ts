// Prepares individually signed requests ahead of a run: calls with a DPoP proof each (RFC 9449),
// and signed Calls.
import { createChainReader } from '../../../broker/client/chain-reader.ts';
import { createDpopKey } from '../../../broker/client/dpop.ts';
import type { KeySigner } from '../../../broker/client/key.ts';
import { ownCallsKey } from '../../../broker/client/own-calls.ts';
import { createCallSigner } from '../../../broker/client/sign-call.ts';
import { signIn } from '../../../broker/client/sign-in.ts';
import { createDigestSigner } from '../../../broker/identity/ecdsa.ts';
import { type Call, hashCall } from '../../../contracts/libraries/receipts.ts';
import { hashToSign } from '../../../contracts/libraries/typed-data.ts';
import type { Target } from './load.ts';
import type { PaidGateway } from './paid-gateway.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

/** A token that is bound to a key, and `count` proofs for it; a proof is good for a minute. */
export async function dpopTarget(
  { connection, lanes: { prepaid }, ...gateway }: PaidGateway,
  call: { readonly name: string; readonly body: string; readonly count: number },
): Promise<Target> {
  const { origin, path, headers: plain, nonces } = await gateway.target(call.body, call.name);
  const key = await createDpopKey();
  const { accessToken } = await signIn(connection, prepaid.key, prepaid, key);
  const each = [];
  for (let n = 0; n < call.count; n += 1) {
    each.push({ dpop: await key.prove('POST', origin + path, accessToken) });
  }
  const headers = { ...plain, authorization: `DPoP ${accessToken}` };
  return { origin, path, headers, body: call.body, each, ...(nonces && { nonces }) };
}

/** `count` Calls signed by the lane's key. */
export async function signedTarget(
  { connection, owner, lanes: { signed } }: PaidGateway,
  call: { readonly name: string; readonly body: string; readonly count: number },
): Promise<Target> {
  const { origin } = connection;
  const { sign } = createDigestSigner(signed.privateKey);
  // Signs with the native library: ethers would take a minute.
  const key: KeySigner = {
    ...signed.key,
    sign: async (domain, _type, message) => sign(hashToSign(domain, hashCall(message as Call))),
  };
  const chain = createChainReader(connection.chain);
  try {
    const signer = createCallSigner({
      connection,
      key,
      lane: signed,
      chain,
      ownCallsKey: ownCallsKey(signed.privateKey),
    });
    const body = Buffer.from(call.body);
    const each = [];
    for (let n = 0; n < call.count; n += 1) {
      const { header } = await signer.sign({
        function: `${owner}/${call.name}`,
        request: { method: 'POST', target: '/', body },
        idempotencyKey: crypto.randomUUID(),
        maxPriceUnits: undefined,
      });
      each.push({ 'defaas-call': header });
    }
    return {
      origin,
      path: `/functions/${owner}/${call.name}`,
      headers: JSON_TYPE,
      body: call.body,
      each,
    };
  } finally {
    chain.close();
  }
}
