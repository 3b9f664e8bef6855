import { Worker, type WorkerOptions } from 'node:worker_threads';
import { checkNotBundled } from './package.js';

/** The module of a thread beside its caller, whose import.meta.url this takes. Without its extension. */
export function threadModule(name: string, caller: string): URL {
  checkNotBundled('the modules of threads that', 'ERR_PRL_UNSUPPORTED');
  return new URL(name, caller);
}

/**
 * Starts a thread that runs a module of this package.
 * @param url of {@link threadModule}
 */
export function startThread(url: URL, options: WorkerOptions): Worker {
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL(`${url}.js`), options);
  // When sources run as they are, a thread does not inherit the loader. It must register it again.
  const [loader, module] = [import.meta.resolve('tsx/esm/api'), `${url}.ts`].map((each) => JSON.stringify(each));
  return new Worker(`import(${loader}).then(({ register }) => (register(), import(${module})))`, {
    ...options,
    eval: true,
  });
}
