// Options may have getters, and the checked value must be the used one. So every option is read once.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { LIBRARY_CALLS } from './library-calls.js';
import { Making } from './making.js';
import { PUBLIC_CALLS } from './public-calls.js';

const test = suite('options with getters');

const isPlain = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

/** The same object with getters, and how often each was asked. */
function counted(object: Record<string, unknown>, reads: Map<string, number>, path = ''): Record<string, unknown> {
  const result = {};
  for (const [name, given] of Object.entries(object)) {
    const at = `${path}${name}`;
    const value = isPlain(given) ? counted(given, reads, `${at}.`) : given;
    const get = () => {
      reads.set(at, (reads.get(at) ?? 0) + 1);
      return value;
    };
    Object.defineProperty(result, name, { enumerable: true, get });
  }
  return result;
}

for (const [name, { make, call }] of Object.entries({ ...PUBLIC_CALLS, ...LIBRARY_CALLS }))
  test(`${name} reads every option at most once`, async () => {
    const reads = new Map<string, number>();
    await call(counted(make(new Making(1000, true, 'cpu')), reads));
    const twice = [...reads].filter(([, times]) => times > 1);
    assert.equal(twice, [], `${name} reads ${twice.map(([at, times]) => `${at} ${times} times`).join(', ')}`);
  });
test.run();
