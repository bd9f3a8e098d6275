// The baseline: nginx as a plain reverse proxy with two workers, keep-alive on both sides and no
// log. It does neither authentication nor metering.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const START_MS = 5_000;
/** More requests than a run sends on one connection. */
const REQUESTS_KEPT = 1_000_000_000;

export interface Nginx {
  readonly version: string;
  readonly origin: string;
  /** The master; its workers are its children. */
  readonly pid: number;
  close(): Promise<void>;
}

/** Starts nginx in front of `upstream` (`host:port`); undefined if it is not installed. */
export async function startNginx(upstream: string): Promise<Nginx | undefined> {
  const version = versionOf();
  if (version === undefined) return undefined;
  const dir = mkdtempSync(join(tmpdir(), 'bench-nginx-'));
  const port = await freePort();
  writeFileSync(join(dir, 'nginx.conf'), configuration(dir, port, upstream));
  const child = spawn('nginx', ['-p', dir, '-c', 'nginx.conf', '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const close = async (): Promise<void> => {
    if (child.exitCode === null) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await untilListens(port);
  } catch (error) {
    await close();
    throw error;
  }
  return { version, origin: `http://127.0.0.1:${port}`, pid: child.pid ?? 0, close };
}

function configuration(dir: string, port: number, upstream: string): string {
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${dir}/${name};`,
  );
  return `
daemon off;
${process.getuid?.() === 0 ? 'user root;' : ''}
pid ${dir}/nginx.pid;
worker_processes 2;
events { worker_connections 8192; }
http {
  access_log off;
  ${folders.join(' ')}
  keepalive_requests ${REQUESTS_KEPT};
  upstream stub { server ${upstream}; keepalive 512; keepalive_requests ${REQUESTS_KEPT}; }
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://stub; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`;
}

function versionOf(): string | undefined {
  try {
    // nginx prints its version on stderr.
    return execFileSync('sh', ['-c', 'nginx -v 2>&1'], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

async function untilListens(port: number): Promise<void> {
  const deadlineMs = Date.now() + START_MS;
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return;
    } catch (error) {
      if (Date.now() > deadlineMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    } finally {
      socket.destroy();
    }
  }
}
