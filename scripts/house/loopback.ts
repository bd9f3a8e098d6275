// The chain and the emulators listen on 127.0.0.1.
import { once } from 'node:events';
import { createServer } from 'node:net';
import { CliError } from '../cli/cli-error.ts';

/** @throws CliError LOOPBACK_MISSING  nothing can listen there */
export async function requireLoopback(address = '127.0.0.1'): Promise<void> {
  const probe = createServer();
  try {
    await once(probe.listen(0, address), 'listening');
  } catch (cause) {
    throw new CliError(
      'LOOPBACK_MISSING',
      `nothing can listen on ${address}, where the chain and the emulators are; give the loopback interface IPv4`,
      { cause },
    );
  } finally {
    probe.close();
  }
}
