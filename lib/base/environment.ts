// The environment variables of the package whose values are checked. docs/README.md lists all of them.
import { invalidArgument } from './errors.js';
import { shorten } from './text.js';

/** Most threads of the CPU kernels, as in native/runtime/cpu/thread_pool.cc. */
const MOST_THREADS = 256;

interface Variable {
  isRight(value: string): boolean;
  expected: string;
  /** Errors do not show its value. */
  secret?: true;
}

const oneOf = (...values: string[]): Variable => ({
  isRight: (value) => values.includes(value),
  expected: `one of ${values.map((value) => `'${value}'`).join(', ')}`,
});

const KEY: Variable = {
  isRight: (value) => /^[\x21-\x7e]+$/.test(value),
  expected: 'printable ASCII characters without spaces',
  secret: true,
};

const VARIABLES: Record<string, Variable> = {
  PRL_THREADS: {
    isRight: (value) => /^\d+$/.test(value) && Number(value) >= 1 && Number(value) <= MOST_THREADS,
    expected: `an integer from 1 to ${MOST_THREADS}`,
  },
  PRL_ISA: oneOf('generic', 'avx2', 'avx512'),
  PRL_DEVICE: { isRight: (value) => /^(cpu|cuda|cuda:\d{1,9})$/.test(value), expected: "'cpu', 'cuda' or 'cuda:N'" },
  PRL_CUDA_CACHE: oneOf('on', 'off'),
  PRL_API_KEY: KEY,
  TINKER_API_KEY: KEY,
};

/**
 * Checks the variables. An empty one counts as not set.
 *
 * @throws TypeError that names the variable and its values
 */
export function checkEnvironment(): void {
  for (const [name, { isRight, expected, secret }] of Object.entries(VARIABLES)) {
    const value = process.env[name];
    if (!value || isRight(value)) continue;
    throw invalidArgument(
      `the environment variable ${name} must be ${expected}${secret ? '' : `, not '${shorten(value)}'`}`,
    );
  }
}

/** PRL_THREADS; undefined where it is not set. */
export function askedThreads(): number | undefined {
  checkEnvironment();
  return Number(process.env.PRL_THREADS) || undefined;
}
