// Node's module hooks: './x.js' in a source is './x.ts', and the code of a source is its file in build/compiled.
import { readFileSync } from 'node:fs';

const root = new URL('../../', import.meta.url).href;
const compiled = new URL('../../build/compiled/', import.meta.url);
/** Copies of sources in build/ are no sources. */
const isSource = (url) =>
  url?.startsWith(root) && url.endsWith('.ts') && !/\/(node_modules|build)\//.test(url.slice(root.length - 1));

export const resolve = (specifier, context, next) =>
  next(isSource(context.parentURL) ? specifier.replace(/^(\.{1,2}\/.*\.)js$/, '$1ts') : specifier, context);

export function load(url, context, next) {
  if (!isSource(url)) return next(url, context);
  const source = readFileSync(new URL(`${url.slice(root.length, -2)}js`, compiled), 'utf8');
  return { format: 'module', source, shortCircuit: true };
}
