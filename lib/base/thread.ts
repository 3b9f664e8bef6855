import { Worker, type WorkerOptions } from 'node:worker_threads';

/**
 * Starts a thread that runs a module of this package.
 * @param url the module beside the caller, without its extension: new URL('./name', import.meta.url)
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
