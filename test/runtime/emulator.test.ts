// The CUDA emulator itself: test/emulator/selftest.cc, built with the system's compiler and run in every order.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const sources = join(dirname(fileURLToPath(import.meta.url)), '..', 'emulator');

// The emulator is for Linux: it keeps device memory in a memfd.
if (process.platform === 'linux') {
  const folder = mkdtempSync(join(tmpdir(), 'prl-emulator-'));
  const program = join(folder, 'selftest');

  function call(command: string, args: string[], env: Record<string, string> = {}) {
    const run = spawnSync(command, args, { cwd: sources, encoding: 'utf8', env: { ...process.env, ...env } });
    return { status: run.status, text: `${run.error ?? ''}${run.stdout}${run.stderr}` };
  }

  test.after(() => rmSync(folder, { recursive: true, force: true }));

  test('the CUDA emulator compiles without a warning', () => {
    const files = ['selftest.cc', 'emulator.cc', 'runtime.cc'];
    const flags = ['-std=gnu++17', '-O1', '-Wall', '-Wextra', '-I.', '-pthread', '-o', program];
    const { status, text } = call(process.env.CXX ?? 'c++', [...files, ...flags]);
    assert.is(text, '');
    assert.is(status, 0);
  });

  for (const order of ['forward', 'reverse', 'shuffle:1', 'shuffle:2']) {
    test(`the CUDA emulator passes its self-test with blocks in order ${order}`, () => {
      const { status, text } = call(program, [], { PRL_EMULATOR_ORDER: order });
      assert.match(text, /^24 checks, 0 failed$/m);
      assert.is(status, 0, text);
    });
  }
}

test.run();
