// Google Cloud Functions: the adapter through its official SDK, against the emulator that runs the real framework.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type GoogleCloudFunctionsEmulator,
  startGoogleCloudFunctions,
} from '../../adapters/emulators/google-cloud-functions.ts';
import { createGoogleCloudFunctions } from '../../adapters/google-cloud-functions.ts';
import { type TestBed, testProvider } from './conformance.ts';

const PROJECT = 'defaas-local';
const REGION = 'us-central1';

async function createBed(): Promise<TestBed> {
  const dir = mkdtempSync(join(tmpdir(), 'defaas-google-'));
  let writes = 0;
  const emulator = await startGoogleCloudFunctions({
    dir,
    projectId: PROJECT,
    log(event, facts) {
      if (event === 'request' && 'method' in facts && facts.method !== 'GET') writes += 1;
    },
  });
  const provider = createGoogleCloudFunctions(optionsOf(emulator));
  return {
    provider,
    region: REGION,
    faults: emulator.faults,
    writes: () => writes,
    async close() {
      await provider.close();
      await emulator.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function optionsOf({ endpoint, metadataHost }: GoogleCloudFunctionsEmulator) {
  return { projectId: PROJECT, gateway: '0xgateway', endpoint, metadataHost };
}

describe('Google Cloud Functions', () => {
  testProvider(createBed, { exitIsResult: false, tellsRetryAfter: true });
});
