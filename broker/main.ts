// The gateway process: reads the environment, opens the gateway, listens, and ends cleanly.
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
import { type Rescue, startRescue } from './rescue.ts';
import { createServer } from './server.ts';

/** Calls under way at the end have this long to finish, ms. */
const CLOSE_MS = 8_000;

/**
 * How V8 collects garbage here. It takes what is under way during a collection for long-lived, and makes the next of the kind in the old
 * generation, where a dead call keeps all that it holds until a whole collection: without that, a call leaves 60 bytes there and not
 * 2.4 KB. What is left to collect is then so little that waking helpers for it costs more than it takes.
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
    // The second one lives on what the first one has opened.
    for (const one of gateways.toReversed()) {
      await one.journal.flush();
      await one.close();
    }
    process.exit(0);
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  // Whoever started us is gone: a gateway without its house must not go on taking money.
  if (process.send !== undefined) process.on('disconnect', end);
  const urls: string[] = [];
  for (const { gateway: one, server } of served) {
    const url = await listen(
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
  // Else it is written at a clean end only, and whoever is killed compiles everything again: 1 s of each start.
  flushCompileCache();
  await resume(gateway).catch((err) => log.error({ err }, 'deployments were not resumed'));
  await Promise.all([keepWarm(gateway), probeClouds(gateway), watchDrift(gateway)]);
}

/** The other set of contracts that the configuration names; where its ledger is lost, the first one is served all the same. */
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

/** Without its ledger a gateway takes no call, and answers what is demanded of it until it is ended. @throws what is not of the ledger */
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

/** A set that is served beside the one whose ledger is lost is not served either, and answers too. */
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

async function listen(
  server: ReturnType<typeof createServer>,
  { host, port }: Config,
  name: string,
): Promise<string> {
  try {
    return await server.listen({ host, port });
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EADDRINUSE') {
      throw new DefaasError(
        'PORT_TAKEN',
        `port ${port} of ${host} is taken, stop the other program or set ${name}`,
        { cause },
      );
    }
    throw cause;
  }
}

try {
  await main();
} catch (error) {
  const { code, message } = toDefaasError(error);
  const detail = code === 'INTERNAL' && error instanceof Error ? `\n${error.stack}` : '';
  process.stderr.write(`${code}: ${message}${detail}\n`);
  process.exit(1);
}
