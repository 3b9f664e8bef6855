// An HTTP server that ends slow requests, and closes at once.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PrlError } from '../../base/errors.js';
import type { RunningServer } from './running.js';

interface Service {
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** Ends the requests in progress and frees everything. */
  end(): Promise<void>;
}

/** @returns once it listens. @throws PrlError ERR_PRL_IO if it cannot listen at the address */
export async function startServer(
  { host, port, bodyTimeout }: { host: string; port: number; bodyTimeout: number },
  service: Service,
): Promise<RunningServer> {
  const server = createServer(
    { requestTimeout: bodyTimeout, connectionsCheckingInterval: Math.min(1000, bodyTimeout) },
    (request, response) => void service.handle(request, response),
  );
  server.headersTimeout = Math.min(bodyTimeout, 10_000);
  await listen(server, host, port);
  const { address, family, port: taken } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${taken}`,
    async close() {
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await Promise.all([closed, service.end()]);
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      fail(new PrlError('ERR_PRL_IO', `cannot listen on ${host}:${port}: ${cause.message}`, { cause })),
    );
    server.listen(port, host, done);
  });
}
