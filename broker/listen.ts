// Lets a gateway's server listen, and names the variable that is wrong when it cannot.
import type { Config } from './config.ts';
import { DefaasError } from './errors.ts';

/**
 * @param portName the variable that sets the port
 * @returns the URL
 * @throws DefaasError PORT_TAKEN; CONFIG_INVALID  the host is no address of this machine
 */
export async function listenOn(
  server: { listen(at: { host: string; port: number }): Promise<string> },
  { host, port }: Pick<Config, 'host' | 'port'>,
  portName: string,
): Promise<string> {
  try {
    return await server.listen({ host, port });
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'EADDRINUSE') {
      throw new DefaasError(
        'PORT_TAKEN',
        `port ${port} of ${host} is taken, stop the other program or set ${portName}`,
        { cause },
      );
    }
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
      throw new DefaasError(
        'CONFIG_INVALID',
        `${host} is no address of this machine, set DEFAAS_LISTEN_HOST to one, such as ::1`,
        { cause },
      );
    }
    throw cause;
  }
}
