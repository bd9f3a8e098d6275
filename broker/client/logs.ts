// A function's log lines, which its gateway reads from the clouds.
import { readArray, readJson, readObject, readText } from './parse.ts';
import type { Session } from './session.ts';

/** Longest wait for the slowest cloud, ms. */
const LOGS_TIMEOUT_MS = 60_000;

export interface LogLine {
  /** Unix time. */
  readonly atMs: number;
  readonly provider: string;
  readonly region: string;
  /** The cloud's own id of the call. */
  readonly requestId?: string;
  readonly level: string;
  readonly text: string;
}

/** A cloud that returned no lines, and why. */
export interface SilentCloud {
  readonly provider: string;
  readonly region: string;
  readonly code: string;
  readonly message: string;
}

export interface LogsRequest {
  readonly owner: string;
  readonly name: string;
  /** A version number or an alias. */
  readonly version: string;
  readonly sinceMs: number;
  readonly limit: number;
}

export interface Logs {
  /** Newest last. */
  readonly lines: readonly LogLine[];
  readonly silent: readonly SilentCloud[];
  /** CID of the version's artifact, as the gateway names it. */
  readonly cid?: string;
}

/** At most `limit` lines. @throws NOT_OWNER, FUNCTION_UNKNOWN */
export async function fetchLogs(
  session: Session,
  { owner, name, version, sinceMs, limit }: LogsRequest,
): Promise<Logs> {
  const query = new URLSearchParams({ version, since: `${sinceMs}`, limit: `${limit}` });
  const reply = await session.request(`/logs/${owner}/${name}?${query}`, {
    timeoutMs: LOGS_TIMEOUT_MS,
  });
  const { lines, silent, cid } = await readJson(reply, 'the logs');
  return {
    ...(typeof cid === 'string' && { cid }),
    lines: readArray(lines, 'lines').map((item) => {
      const line = readObject(item, 'a line');
      return {
        atMs: Number(line.atMs),
        provider: readText(line.provider, 'provider'),
        region: readText(line.region, 'region'),
        ...(typeof line.requestId === 'string' && { requestId: line.requestId }),
        level: readText(line.level, 'level'),
        text: readText(line.text, 'text'),
      };
    }),
    silent: readArray(silent, 'silent').map((item) => {
      const cloud = readObject(item, 'a cloud');
      return {
        provider: readText(cloud.provider, 'provider'),
        region: readText(cloud.region, 'region'),
        code: readText(cloud.code, 'code'),
        message: readText(cloud.message, 'message'),
      };
    }),
  };
}
