// Every function that the addon exports, as it is: nothing of lib/ stands in front.
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PrlError } from '../../lib/index.js';
import { native } from '../../lib/kernels/native.js';
import type { Target } from './fuzz.js';
import { GPU_CALLS } from './gpu-calls.js';
import { hostile, spoil } from './hostile.js';
import { type AddonCall, KERNEL_CALLS } from './kernel-calls.js';
import { ELEMENTS, policyCalls } from './policy-calls.js';

/** A file of weights that policyLoad may read. */
function weightsFile(): { fd: number; close(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'prl-fuzz-'));
  writeFileSync(join(folder, 'weights'), new Uint8Array(new Float32Array(ELEMENTS).map((_, i) => i).buffer));
  const fd = openSync(join(folder, 'weights'), 'r');
  const close = () => {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  };
  return { fd, close };
}

export function addonTargets(device: 'cpu' | 'cuda'): { targets: Target[]; close(): void } {
  const file = weightsFile();
  const table: Record<string, AddonCall> = { ...KERNEL_CALLS, ...policyCalls(file.fd), ...GPU_CALLS };
  const addon = native() as Record<string, (...args: unknown[]) => unknown>;
  const exported = Object.keys(addon).filter((name) => typeof addon[name] === 'function');
  const unknown = exported.filter((name) => !Object.hasOwn(table, name));
  if (unknown.length)
    throw new Error(`the fuzz knows no right arguments for the addon's ${unknown.join(', ')}: add them to the tables`);
  const gone = Object.keys(table).filter((name) => !exported.includes(name));
  if (gone.length) throw new Error(`the addon has no ${gone.join(', ')} any more`);

  const targets = exported.map((name): Target => {
    const call = table[name];
    const run = addon[name];
    return {
      name,
      outputs: call.outputs ?? [],
      unsupported: call.gpuOnly === true && device === 'cpu',
      unanswered: call.unanswered,
      varies: call.varies,
      make: (m) => call.make(m),
      // `whole`: what comes instead of the object of arguments.
      call: (args) => ('whole' in args ? Reflect.apply(run, args.self, args.whole as unknown[]) : run(args)),
      spoil(m, args, interfere) {
        if (name === 'initialize' || 'whole' in args) return { what: 'left as it is' };
        if (m.chance(0.95)) return spoil(m, args, call, interfere);
        const whole = Array.from({ length: m.int(0, 2) }, () => hostile(m));
        for (const key of Object.keys(args)) delete args[key];
        Object.assign(args, { whole, self: m.of([undefined, {}, addon, null, 1]) });
        return { what: 'other things than an object of arguments', foreign: true };
      },
    };
  });
  return { targets, close: file.close };
}

/** The error class is set once, right; a wrong one is refused. */
export function refuseWrongErrorClass(): void {
  const initialize = native().initialize as (...args: unknown[]) => void;
  for (const wrong of [undefined, null, {}, 1, 'PrlError']) {
    try {
      initialize(wrong);
    } catch (error) {
      if (error instanceof TypeError && (error as { code?: string }).code === 'ERR_PRL_INVALID_ARGUMENT') continue;
    }
    throw new Error('initialize took what is no class');
  }
  initialize(PrlError);
}
