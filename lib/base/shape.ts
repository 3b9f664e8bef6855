import { quoted } from './json.js';

const KINDS = {
  number: (value: unknown) => Number.isFinite(value),
  // JSON has no other word for NaN.
  'number or null': (value: unknown) => value === null || Number.isFinite(value),
  text: (value: unknown) => typeof value === 'string',
  boolean: (value: unknown) => typeof value === 'boolean',
};

/**
 * What JSON of a file must look like: a kind of value; a list of values alike ([shape]); one of a value for each of several shapes; an
 * object with at least these names, of which those that end in ? may be absent and * stands for all.
 */
export type Shape = keyof typeof KINDS | readonly Shape[] | { readonly [name: string]: Shape };

const isObject = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** The first thing in which a value is not of a shape: 'trained.n must be a number, not "x"'. */
export function shapeMismatch(value: unknown, shape: Shape, name = ''): string | undefined {
  const wrong = (what: string) =>
    `${name || 'it'} must be ${what}, not ${value === undefined ? 'absent' : quoted(value)}`;
  if (typeof shape === 'string') return KINDS[shape](value) ? undefined : wrong(`a ${shape}`);
  if (isList(shape)) {
    if (!Array.isArray(value)) return wrong('a list');
    if (shape.length > 1 && value.length !== shape.length) return wrong(`a list of ${shape.length}`);
    return firstMismatch(value.map((each, i) => [each, shape[shape.length > 1 ? i : 0], `${name}[${i}]`]));
  }
  if (!isObject(value)) return wrong('an object');
  const inner = (key: string) => (name === '' ? key : `${name}.${key}`);
  return firstMismatch(
    Object.entries(shape).flatMap(([key, of]): [unknown, Shape, string][] => {
      if (key === '*') return Object.entries(value).map(([own, each]) => [each, of, inner(own)]);
      const own = key.replace(/\?$/, '');
      const there = Object.hasOwn(value, own);
      return there || own === key ? [[there ? value[own] : undefined, of, inner(own)]] : [];
    }),
  );
}

const isList = (shape: Shape): shape is readonly Shape[] => Array.isArray(shape);

function firstMismatch(parts: readonly [unknown, Shape, string][]): string | undefined {
  for (const part of parts) {
    const mismatch = shapeMismatch(...part);
    if (mismatch) return mismatch;
  }
}
