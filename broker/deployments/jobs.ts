// Deployment jobs for `GET /deployments/{id}`: steps are streamed to watchers at once, and a
// finished job is kept for a while.
import { EventEmitter, once } from 'node:events';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { toDefaasError } from '../errors.ts';
import type { DeployedProvider, DeployStep, Failure } from './deploy-step.ts';

/** Maximum number of finished jobs kept; the oldest is dropped first. */
const KEPT_JOBS = 200;

export interface Job {
  readonly id: string;
  readonly owner: Address;
  readonly function: string;
  readonly steps: readonly DeployStep[];
  readonly state: 'running' | 'live' | 'failed' | 'gone';
  readonly providers: readonly DeployedProvider[];
  readonly error?: Failure;
}

export interface Jobs {
  /**
   * Starts the work and returns at once. Jobs of one queue run one after the other; each function
   * has its own queue.
   */
  start(
    of: { readonly owner: Address; readonly function: string; readonly queue: string },
    work: (onStep: (step: DeployStep) => void) => Promise<readonly DeployedProvider[]>,
  ): Job;
  find(id: string): Job | undefined;
  /** Yields the job after each change, until it has ended. */
  watch(id: string, signal: AbortSignal): AsyncGenerator<Job>;
}

export function createJobs(): Jobs {
  const jobs = new Map<string, Job>();
  const queues = new Map<string, Promise<void>>();
  const changes = new EventEmitter();
  changes.setMaxListeners(0);

  const change = (id: string, next: (job: Job) => Job): void => {
    const job = jobs.get(id);
    if (job === undefined) return;
    jobs.set(id, next(job));
    changes.emit(id);
  };
  const run = async (id: string, work: Parameters<Jobs['start']>[1]): Promise<void> => {
    try {
      const providers = await work((step) =>
        change(id, (job) => ({ ...job, steps: [...job.steps, step] })),
      );
      const state =
        providers.find((one) => one.state === 'failed')?.state ?? providers[0]?.state ?? 'gone';
      change(id, (job) => ({ ...job, providers, state }));
    } catch (cause) {
      const { code, message } = toDefaasError(cause);
      change(id, (job) => ({ ...job, state: 'failed', error: { code, message } }));
    }
  };

  return {
    start: ({ queue, ...of }, work) => {
      const job: Job = {
        id: crypto.randomUUID(),
        ...of,
        steps: [],
        state: 'running',
        providers: [],
      };
      jobs.set(job.id, job);
      for (const [id, old] of jobs) {
        if (jobs.size <= KEPT_JOBS) break;
        if (old.state !== 'running') jobs.delete(id);
      }
      const before = queues.get(queue) ?? Promise.resolve();
      const mine = before.then(() => run(job.id, work));
      queues.set(queue, mine);
      void mine.then(() => {
        if (queues.get(queue) === mine) queues.delete(queue);
      });
      return job;
    },
    find: (id) => jobs.get(id),
    watch: async function* (id, signal) {
      for (;;) {
        const changed = once(changes, id, { signal });
        // A watcher that leaves early must not cause an unhandled rejection.
        changed.catch(() => {});
        const job = jobs.get(id);
        if (job === undefined) return;
        yield job;
        if (job.state !== 'running') return;
        await changed;
      }
    },
  };
}
