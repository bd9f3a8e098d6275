// Service accounts: a payer registers a public key, which may then request tokens for one of its
// prepaid lanes (client_credentials).
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { signedIn } from '../http/bearer.ts';
import { jsonBody } from '../http/json.ts';
import { clientIdOf } from '../identity/client-assertions.ts';
import { publicKeyIn } from '../identity/public-jwk.ts';
import type { ServiceClient } from '../ledger/ledger.ts';

/** Maximum number of service accounts per payer. */
const MAX_CLIENTS = 100;
/** Mode of a prepaid lane, whose calls need a token (docs/contracts.md 3). */
const PREPAID = 1;

const ClientBody = Type.Object(
  {
    jwk: Type.Object({}, { additionalProperties: true }),
    lane: Type.Object({ signer: Type.String({ maxLength: 42 }) }, { additionalProperties: false }),
  },
  { additionalProperties: false },
);

type ClientParams = { Params: { id: string } };

export async function clientRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  const parse = jsonBody(ClientBody);
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <Value>(work: () => Promise<Value>): Promise<Value> => {
    const mine = last.then(work);
    last = mine.catch(() => {});
    return mine;
  };

  server.put<ClientParams>('/oauth/clients/:id', async (request, reply) => {
    const { signedBy: payer } = await signedIn(gateway, request);
    const { id } = request.params;
    if (!/^[a-z0-9-]{1,63}$/.test(id)) {
      throw new DefaasError(
        'NAME_INVALID',
        `the client id ${id} is not a-z, 0-9 and -, at most 63`,
      );
    }
    const { jwk, lane } = parse(request);
    const publicKey = publicKeyIn(jwk);
    if (typeof publicKey === 'string') {
      throw new DefaasError('REQUEST_INVALID', `the jwk ${publicKey}, send a public key`);
    }
    const signer = await prepaidLane(gateway, payer, lane.signer.toLowerCase());
    // Run one at a time: concurrent requests could exceed the limit together.
    return inTurn(async () => {
      const known = await gateway.ledger.clients(payer);
      const before = known.find((one) => one.id === id);
      if (before === undefined && known.length >= MAX_CLIENTS) {
        throw new DefaasError(
          'REQUEST_INVALID',
          `${payer} has ${known.length} service accounts, remove one first`,
        );
      }
      const createdAtMs = before?.createdAtMs ?? gateway.nowMs();
      const client = { payer, id, signer, jwk: publicKey, createdAtMs };
      await gateway.ledger.putClient(client);
      return reply.code(before === undefined ? 201 : 200).send(documentOf(client));
    });
  });

  server.get('/oauth/clients', async (request) => {
    const { signedBy } = await signedIn(gateway, request);
    return { clients: (await gateway.ledger.clients(signedBy)).map(documentOf) };
  });

  server.get<ClientParams>('/oauth/clients/:id', async (request) =>
    documentOf(await ownClient(gateway, request)),
  );

  // Tokens already issued stay valid until they expire, 10 minutes at most.
  server.delete<ClientParams>('/oauth/clients/:id', async (request, reply) => {
    const { payer, id } = await ownClient(gateway, request);
    await gateway.ledger.dropClient(payer, id);
    return reply.code(204).send();
  });
}

async function ownClient(
  gateway: Pick<Gateway, 'authenticate' | 'config' | 'ledger'>,
  request: FastifyRequest<ClientParams>,
): Promise<ServiceClient> {
  const { signedBy } = await signedIn(gateway, request);
  const client = await gateway.ledger.client(signedBy, request.params.id);
  if (client !== undefined) return client;
  throw new DefaasError(
    'CLIENT_UNKNOWN',
    `no service account ${request.params.id} of ${signedBy} at this gateway, check the id`,
  );
}

/** The signer's address, if the payer has an open prepaid lane with it. */
async function prepaidLane(
  gateway: Pick<Gateway, 'address' | 'chain'>,
  payer: Address,
  signer: string,
): Promise<Address> {
  // Safe: lanes are looked up by address, so a signer that is found is an address.
  const address = signer as Address;
  const isPrepaid = (): boolean =>
    gateway.chain.view.lane(payer, gateway.address, address)?.mode === PREPAID;
  // The lane's transaction may be newer than the local view.
  if (!isPrepaid()) await gateway.chain.synced();
  if (isPrepaid()) return address;
  throw new DefaasError(
    'LANE_UNKNOWN',
    `no prepaid lane of ${payer} with key ${signer} at this gateway, run defaas deposit`,
  );
}

function documentOf(client: ServiceClient): Record<string, unknown> {
  const { payer, signer, jwk, createdAtMs } = client;
  return { client_id: clientIdOf(client), jwk, lane: { payer, signer }, createdAtMs };
}
