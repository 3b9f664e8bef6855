// Environment variables with values that they do not take.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { askedThreads, checkEnvironment } from '../../lib/base/environment.js';
import { threadsOf } from '../../lib/cli/compare/run-jobs.js';
import { throwsError } from '../reference/numbers.js';

const NAMES = ['PRL_THREADS', 'PRL_ISA', 'PRL_DEVICE', 'PRL_CUDA_CACHE', 'PRL_API_KEY'];
const before = NAMES.map((name) => [name, process.env[name]] as const);
const variables = suite('environment variables');
variables.before.each(() => {
  for (const name of NAMES) delete process.env[name];
});
variables.after(() => {
  for (const [name, value] of before)
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
});
variables('a wrong value is an error that names the variable and its values', () => {
  for (const [name, wrong, message] of [
    ['PRL_THREADS', ['abc', '0', '-1', '1.5', '257', '1e2', ' 2', '4x', 'NaN'], /an integer from 1 to 256/],
    ['PRL_ISA', ['foo', 'AVX2', 'avx', 'generic '], /'generic', 'avx2', 'avx512'/],
    ['PRL_DEVICE', ['gpu', 'cuda:', 'cuda:-1', 'CPU', 'cuda:0x'], /'cpu', 'cuda' or 'cuda:N'/],
    ['PRL_CUDA_CACHE', ['no', '0'], /'on', 'off'/],
  ] as const)
    for (const value of wrong) {
      process.env[name] = value;
      throwsError(checkEnvironment, TypeError, 'ERR_PRL_INVALID_ARGUMENT', message);
      throwsError(() => threadsOf(1), TypeError, 'ERR_PRL_INVALID_ARGUMENT', new RegExp(`${name} must be`));
      delete process.env[name];
    }
  process.env.PRL_API_KEY = 'secret\nkey';
  const failure = () => checkEnvironment();
  throwsError(
    failure,
    TypeError,
    'ERR_PRL_INVALID_ARGUMENT',
    /PRL_API_KEY must be printable ASCII characters without spaces$/,
  );
});
variables('right and empty values are taken', () => {
  for (const [name, ...values] of [
    ['PRL_THREADS', '1', '256', ''],
    ['PRL_ISA', 'generic', 'avx512', ''],
    ['PRL_DEVICE', 'cpu', 'cuda', 'cuda:12', ''],
    ['PRL_CUDA_CACHE', 'off', 'on', ''],
    ['PRL_API_KEY', 'sk-1_x', ''],
  ])
    for (const value of values) {
      process.env[name] = value;
      checkEnvironment();
      delete process.env[name];
    }
  assert.is(askedThreads(), undefined);
  process.env.PRL_THREADS = '6';
  assert.is(askedThreads(), 6);
  assert.is(threadsOf(4), 1);
});
variables.run();
