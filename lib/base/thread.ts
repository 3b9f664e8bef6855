import { Worker, type WorkerOptions } from 'node:worker_threads';

/**
 * A thread that runs a module of this package.
 * @param url of the module beside the caller, without its ending: new URL('./name', import.meta.url)
 */
export function startThread(url: URL, options: WorkerOptions): Worker {
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL(`${url}.js`), options);
  // Where sources are run as they are, a thread does not inherit what makes that possible.
  const [loader, module] = [import.meta.resolve('tsx/esm/api'), `${url}.ts`].map((each) => JSON.stringify(each));
  return new Worker(`import(${loader}).then(({ register }) => (register(), import(${module})))`, {
    ...options,
    eval: true,
  });
}
