// Azure Functions against its emulator: the suite of all providers, then what only Azure has.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAzureFunctions } from '../../adapters/azure-functions.ts';
import {
  type AzureFunctionsEmulator,
  startAzureFunctions,
} from '../../adapters/emulators/azure-functions.ts';
import { testProvider } from './conformance.ts';

const REGION = 'westeurope';

function createProvider(emulator: AzureFunctionsEmulator, overrides = {}) {
  const { endpoint, caPem, token, subscriptionId, resourceGroup, storage } = emulator;
  return createAzureFunctions({
    endpoint,
    caPem,
    subscriptionId,
    resourceGroup,
    storage,
    gateway: '0x00000000000000000000000000000000000000bb',
    regions: [REGION],
    credential: { getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3_600_000 }) },
    pollMs: 20,
    ...overrides,
  });
}

describe('Azure Functions, Flex Consumption', () => {
  testProvider(
    async () => {
      const dir = mkdtempSync(join(tmpdir(), 'defaas-azure-'));
      const emulator = await startAzureFunctions({ dir });
      const provider = createProvider(emulator);
      return {
        provider,
        region: REGION,
        faults: emulator.faults,
        writes: emulator.writes,
        async close() {
          await provider.close();
          await emulator.close();
          rmSync(dir, { recursive: true, force: true });
        },
      };
    },
    { exitIsResult: false, tellsRetryAfter: true },
  );
});
