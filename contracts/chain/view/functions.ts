// Functions, versions, aliases, deployments and candidate sets, as FunctionRegistry's events tell
// them.

import type { Address, Hex } from '../../libraries/keccak.ts';
import { cidOf } from '../../libraries/names.ts';
import { inner, listOf, type Replay, toAddress } from '../replay.ts';
import type {
  CandidateSet,
  ChainView,
  Enrolment,
  FunctionVersion,
  RegisteredFunction,
} from '../types.ts';
import type { History } from './history.ts';

type Functions = Pick<
  ChainView,
  | 'resolveNamespace'
  | 'labelOf'
  | 'functions'
  | 'functionOf'
  | 'functionById'
  | 'functionsOf'
  | 'versionOf'
  | 'versionByHash'
  | 'ownerAt'
  | 'deployments'
  | 'deploymentById'
  | 'candidates'
>;

const ADDRESS = /^0x[0-9a-f]{40}$/i;

export function createFunctions(history: History): { queries: Functions; replay: Replay } {
  const namespaces = new Map<string, Address>();
  const labels = new Map<Address, string>();
  const functions = new Map<bigint, RegisteredFunction>();
  const idsByName = new Map<Address, Map<string, bigint>>();
  const owners = new Map<bigint, { fromBlock: number; owner: Address }[]>();
  const versions = new Map<Hex, FunctionVersion>();
  const deployments = new Map<number, Enrolment>();
  const idsByVersion = new Map<Hex, number[]>();
  const candidates = new Map<Hex, Map<Address, CandidateSet[]>>();

  const change = (id: bigint, changes: Partial<RegisteredFunction>): void => {
    const known = functions.get(id);
    if (known !== undefined) history.set(functions, id, { ...known, ...changes });
  };
  const end = (id: number, changes: Partial<Enrolment>): void => {
    const known = deployments.get(id);
    if (known !== undefined) history.set(deployments, id, { ...known, ...changes });
  };

  const replay: Replay = {
    registry: {
      NamespaceClaimed: ({ namespace, label }) => {
        history.set(namespaces, label, toAddress(namespace));
        history.set(labels, toAddress(namespace), label);
      },
      // A mint's ERC-721 Transfer precedes its Registered event, which reads the owner from
      // `owners`.
      Transfer: ({ to, tokenId }, { blockNumber }) => {
        const owner = toAddress(to);
        history.push(listOf(owners, tokenId), { fromBlock: blockNumber, owner });
        change(tokenId, { owner });
      },
      Registered: ({ functionId: id, namespace, name }) => {
        const at = toAddress(namespace);
        const owner = owners.get(id)?.at(-1)?.owner ?? at;
        const aliases = new Map<string, number>();
        const fresh = { id, namespace: at, name, owner, latest: 0, aliases, versions: [] };
        history.set(functions, id, fresh);
        history.set(inner(idsByName, at), name, id);
      },
      VersionPublished: ({ functionId, number, functionVersion, terms }, { blockNumber }) => {
        const { tariff } = terms;
        history.set(versions, functionVersion, {
          functionVersion,
          functionId,
          number: Number(number),
          manifestCid: cidOf(Number(terms.manifestCodec), terms.manifest),
          artifactCid: cidOf(Number(terms.artifactCodec), terms.artifact),
          tariff: {
            perCall: tariff.perCall,
            perGiBSecond: tariff.perGiBSecond,
            maxPrice: tariff.maxPrice,
            minBilledMs: Number(tariff.minBilledMs),
            roundMs: Number(tariff.roundMs),
            publisherBps: Number(tariff.publisherBps),
          },
          accessMode: accessModeOf(terms.accessMode),
          memoryMiB: Number(terms.memoryMiB),
          timeoutMs: Number(terms.timeoutMs),
          idempotent: terms.idempotent,
          deterministic: terms.deterministic,
          deprecated: false,
          blockNumber,
        });
        const earlier = functions.get(functionId)?.versions ?? [];
        change(functionId, { versions: [...earlier, functionVersion] });
      },
      AliasMoved: ({ functionId, label, number }) => {
        const aliases = new Map(functions.get(functionId)?.aliases);
        aliases.set(label, Number(number));
        change(functionId, { aliases, latest: aliases.get('latest') ?? 0 });
      },
      VersionDeprecated: ({ functionVersion }) => {
        const known = versions.get(functionVersion);
        if (known) history.set(versions, functionVersion, { ...known, deprecated: true });
      },
      Enrolled: ({ id: wideId, functionVersion, provider, cloud, region }) => {
        const id = Number(wideId);
        const at = { cloud, region, retired: false, barred: false };
        history.set(deployments, id, {
          id,
          functionVersion,
          provider: toAddress(provider),
          ...at,
        });
        history.push(listOf(idsByVersion, functionVersion), id);
      },
      Retired: ({ id }) => end(Number(id), { retired: true }),
      Barred: ({ id }) => end(Number(id), { barred: true }),
      CandidatesSet: ({ functionVersion, gateway, setNo, fromEpoch, ids }) => {
        const sets = listOf(inner(candidates, functionVersion), toAddress(gateway));
        history.push(sets, {
          setNo: Number(setNo),
          fromEpoch: Number(fromEpoch),
          ids: [...ids].map(Number),
        });
      },
    },
  };

  const queries: Functions = {
    resolveNamespace: (label) => (ADDRESS.test(label) ? toAddress(label) : namespaces.get(label)),
    labelOf: (namespace) => labels.get(namespace),
    functions: () => [...functions.values()],
    functionOf: (namespace, name) => {
      const id = idsByName.get(namespace)?.get(name);
      return id === undefined ? undefined : functions.get(id);
    },
    functionsOf: (namespace) =>
      [...(idsByName.get(namespace)?.values() ?? [])].flatMap((id) => functions.get(id) ?? []),
    functionById: (id) => functions.get(id),
    versionOf: (fn, reference = 'latest') => {
      const isNumber = typeof reference === 'number' || /^\d{1,9}$/.test(reference);
      const number = isNumber ? Number(reference) : fn.aliases.get(reference);
      const hash = number === undefined ? undefined : fn.versions[number - 1];
      return hash === undefined ? undefined : versions.get(hash);
    },
    versionByHash: (functionVersion) => versions.get(functionVersion),
    ownerAt: (id, blockNumber) =>
      owners.get(id)?.findLast(({ fromBlock }) => fromBlock <= blockNumber)?.owner,
    deployments: (functionVersion) =>
      (idsByVersion.get(functionVersion) ?? []).flatMap((id) => deployments.get(id) ?? []),
    deploymentById: (id) => deployments.get(id),
    candidates: (functionVersion, gateway, epoch = Number.POSITIVE_INFINITY) =>
      candidates
        .get(functionVersion)
        ?.get(gateway)
        ?.findLast(({ fromEpoch }) => fromEpoch <= epoch),
  };
  return { queries, replay };
}

function accessModeOf(value: bigint): 0 | 1 | 2 {
  if (value === 0n) return 0;
  return value === 1n ? 1 : 2;
}
