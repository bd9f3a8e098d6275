// The gateway process: reads the environment, opens the gateway, listens, and shuts down cleanly.
import { flushCompileCache } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import pino, { type Logger } from 'pino';
import { type Config, readConfig, secondConfig } from './config.ts';
import { keepWarm } from './deployments/keep-warm.ts';
import { watchDrift } from './deployments/metering-drift.ts';
import { probeClouds } from './deployments/probes.ts';
import { resume } from './deployments/resume.ts';
import { DefaasError, toDefaasError } from './errors.ts';
import { createGateway, type Gateway } from './gateway.ts';
import { listenOn } from './listen.ts';
import { type Rescue, startRescue } from './rescue.ts';
import { createServer } from './server.ts';

/** Time that running calls get to finish when the gateway closes, ms. */
const CLOSE_MS = 8_000;

/**
 * V8 flags for garbage collection. Without the first, V8 sees objects of running calls survive a
 * collection and allocates later ones of that kind in the old generation, where a finished call's
 * objects stay until a full collection: 2.4 KB per call, 60 bytes with the flag. What is left to
 * scavenge is so little that waking parallel helpers costs more than it saves.
 */
const GARBAGE_FLAGS = ['--no-allocation-site-pretenuring', '--no-parallel-scavenge'];

async function main(): Promise<void> {
  for (const flag of GARBAGE_FLAGS) setFlagsFromString(flag);
  const config = readConfig();
  const log = pino(
    { level: config.logLevel, base: null },
    pino.destination({ dest: 2, sync: false }),
  );
  const onBroken = (err: unknown): void => {
    log.fatal({ err }, 'the ledger cannot be written, the gateway ends');
    log.flush(() => process.exit(1));
  };
  const gateway = await createGateway({ config, log, onBroken }).catch((error) =>
    rescueAll(config, log, error),
  );
  if (gateway === undefined) return;
  const second = await openSecond(gateway, onBroken);
  const gateways = second && 'ledger' in second ? [gateway, second] : [gateway];
  const served = gateways.map((one) => ({ gateway: one, server: createServer(one) }));
  let isEnding = false;
  const end = async (): Promise<void> => {
    if (isEnding) return;
    isEnding = true;
    setTimeout(() => process.exit(1), CLOSE_MS).unref();
    await Promise.all(served.map(({ server }) => server.close()));
    if (second && !('ledger' in second)) await second.close();
    // Close the second gateway first: it uses resources that the first one opened.
    for (const one of gateways.toReversed()) {
      await one.journal.flush();
      await one.close();
    }
    process.exit(0);
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  // When the parent process is gone, end: a gateway must not take money unsupervised.
  if (process.send !== undefined) process.on('disconnect', end);
  const urls: string[] = [];
  for (const { gateway: one, server } of served) {
    const url = await listenOn(
      server,
      one.config,
      one === second ? 'DEFAAS_SECOND_PORT' : 'DEFAAS_PORT',
    );
    const { billing } = one.chain.contracts;
    log.info({ url, gateway: one.address, billing }, 'listening');
    urls.push(url);
  }
  const [url] = urls;
  process.send?.({ ready: { url, ipfs: { multiaddrs: gateway.ipfs.multiaddrs() } } });
  // Write the compile cache now. Node writes it at a clean exit only, so a killed process would
  // compile everything again, about 1 s per start.
  flushCompileCache();
  await resume(gateway).catch((err) => log.error({ err }, 'deployments were not resumed'));
  await Promise.all([keepWarm(gateway), probeClouds(gateway), watchDrift(gateway)]);
}

/**
 * Open the gateway of the second set of contracts, if configured. If its ledger is lost, the first
 * set is served all the same.
 */
async function openSecond(
  beside: Gateway,
  onBroken: (error: unknown) => void,
): Promise<Gateway | Rescue | undefined> {
  const { log } = beside;
  const config = secondConfig(beside.config);
  if (config === undefined) return undefined;
  return createGateway({ config, log, onBroken, beside }).catch((error) =>
    rescue(config, log, error, beside),
  );
}

/**
 * Start a rescue instead of a gateway: it takes no calls and only answers demands.
 * @throws err  when it is not LEDGER_FAILED
 */
function rescue(
  config: Config,
  log: Logger,
  err: unknown,
  beside?: Pick<Gateway, 'chain' | 'ipfs'>,
): Promise<Rescue> {
  if (!(err instanceof DefaasError && err.code === 'LEDGER_FAILED')) throw err;
  log.fatal({ err }, 'the ledger is lost: no call is taken, demands are answered from the pages');
  return startRescue(config, log, beside);
}

/**
 * Start rescues for all configured sets. When the first set's ledger is lost, the second set is not
 * served either; its demands are answered too.
 */
async function rescueAll(config: Config, log: Logger, err: unknown): Promise<undefined> {
  const first = await rescue(config, log, err);
  const next = secondConfig(config);
  const second = next && (await startRescue(next, log, first));
  const close = async (): Promise<void> => {
    await second?.close();
    await first.close();
  };
  const end = (): void => void close().finally(() => process.exit(1));
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
  if (process.send !== undefined) process.once('disconnect', end);
}

try {
  await main();
} catch (error) {
  const { code, message } = toDefaasError(error);
  const detail = code === 'INTERNAL' && error instanceof Error ? `\n${error.stack}` : '';
  process.stderr.write(`${code}: ${message}${detail}\n`);
  process.exit(1);
}
