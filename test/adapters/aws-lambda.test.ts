// The AWS provider against the emulator: the suite of all providers, and what only Lambda has.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAwsLambda } from '../../adapters/aws-lambda.ts';
import { startAwsLambda } from '../../adapters/emulators/aws-lambda.ts';
import { type TestBed, testProvider } from './conformance.ts';

const credentials = { accessKeyId: 'emulator', secretAccessKey: 'test-key-of-the-emulator' };
const region = 'us-east-1';

async function openBed(): Promise<TestBed> {
  const dir = mkdtempSync(join(tmpdir(), 'defaas-aws-'));
  const emulator = await startAwsLambda({ dir, credentials, region });
  const { endpoint, faults, writes } = emulator;
  const provider = createAwsLambda({ region, endpoint, credentials, gateway: '0xgateway' });
  return {
    provider,
    region,
    faults,
    writes,
    async close() {
      await provider.close();
      await emulator.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

describe('aws-lambda', () => {
  testProvider(openBed, { exitIsResult: true, tellsRetryAfter: true });
});
