// Calls functions at random: with right arguments, whose answers are known, and with spoiled ones, which must fail with
// a typed error or do no harm. What is wrong is thrown, with the number of the call, which with the seed makes the same
// call again.
import { writeSync } from 'node:fs';
import { PrlError } from '../../lib/index.js';
import { type Fault, isTensor, Thrown } from './hostile.js';
import { Making } from './making.js';

/** A function, how to make right arguments for it and how to spoil them. */
export interface Target {
  name: string;
  make(m: Making): Record<string, unknown>;
  call(args: Record<string, unknown>): unknown;
  spoil(m: Making, args: Record<string, unknown>, interfere: () => void): Fault;
  outputs: readonly string[];
  /** Fails with ERR_PRL_UNSUPPORTED here, whatever comes. */
  unsupported?: boolean;
  /** No arguments are right that one process can make by itself. */
  unanswered?: boolean;
  varies?: boolean;
}

export interface FuzzOptions {
  targets: readonly Target[];
  seed: number;
  calls: number;
  /** Does only this call, after the known answers. */
  only?: number;
  device: 'cpu' | 'cuda';
  /** Goes on after what went wrong, and throws it all at the end. */
  all?: boolean;
  /** Does harm to things that calls share, in the middle of another call. */
  disturb(m: Making): void;
  /** Reads a tensor's memory, wherever it is. */
  settle(): Promise<void>;
  /** Told of every error that a call was refused with, for those who read messages. */
  refused?(what: string, error: unknown): void;
  /** A file that always says which call is the last one, for the case that the process does not survive it. */
  trace?: number;
}

export interface FuzzReport {
  calls: number;
  accepted: number;
  refused: number;
  known: number;
  perTarget: Map<string, { accepted: number; refused: number }>;
}

const KNOWN = 3;

/** All numbers of a value, as text. */
async function digest(value: unknown, depth = 0): Promise<string> {
  if (ArrayBuffer.isView(value))
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
  if (value instanceof ArrayBuffer) return Buffer.from(value).toString('base64');
  if (typeof value !== 'object' || value === null) return typeof value === 'function' ? 'function' : String(value);
  if (depth > 4) return 'deep';
  if ('read' in value && typeof value.read === 'function') return digest(await value.read(), depth + 1);
  const parts = [];
  for (const key of Object.keys(value))
    parts.push(`${key}:${await digest((value as Record<string, unknown>)[key], depth + 1)}`);
  return `{${parts}}`;
}

const isPromise = (value: unknown): value is Promise<unknown> => value instanceof Promise;

/** What is wrong with an error; undefined: nothing. */
function untyped(error: unknown, fault: Fault): string | undefined {
  if (error instanceof Thrown) return fault.foreign ? undefined : 'threw what no argument of it threw';
  if (!(error instanceof Error)) return 'threw what is no Error';
  if (fault.foreign && /proxy that has been revoked/.test(error.message)) return undefined;
  const { code } = error as PrlError;
  const kind = error instanceof PrlError || error instanceof TypeError || error instanceof RangeError;
  if (!kind || typeof code !== 'string' || !code.startsWith('ERR_PRL_') || code === 'ERR_PRL_INTERNAL')
    return `threw an error that is not typed (${error.name}, code ${code})`;
  return error.message ? undefined : 'threw an error without a message';
}

export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  const { targets, seed, calls, device } = options;
  const report: FuzzReport = { calls: 0, accepted: 0, refused: 0, known: 0, perTarget: new Map() };
  const pending = new Set<Promise<void>>();
  let what = '';

  const wrong = (message: string, cause?: unknown): never => {
    throw new Error(`${what}: ${message}`, { cause });
  };

  const knownArguments = (target: Target, k: number) => target.make(new Making(1000 + k, true, device));
  const answerOf = async (target: Target, args: Record<string, unknown>, result: unknown) => {
    const value = await result;
    const written = target.outputs.map((name) => args[name]);
    return target.varies ? '' : `${await digest(value)} ${await digest(await Promise.all(written.map(readable)))}`;
  };
  const answers = new Map<string, string>();
  const answerable = targets.filter(({ unsupported, unanswered }) => !unsupported && !unanswered);
  for (const target of answerable) {
    for (let k = 0; k < KNOWN; k++) {
      what = `${target.name}, known answer ${k}`;
      const args = knownArguments(target, k);
      answers.set(`${target.name} ${k}`, await answerOf(target, args, target.call(args)));
    }
  }

  /** A right call, whose answer must be what it was before all the wrong ones. */
  async function checkKnown(m: Making) {
    const target = m.of(answerable);
    const k = m.int(0, KNOWN - 1);
    what += ` ${target.name}, known answer ${k}`;
    const said = what;
    // What kernels of earlier calls found wrong comes with whatever is read next.
    await options.settle();
    const args = knownArguments(target, k);
    const answer = await answerOf(target, args, target.call(args));
    report.known++;
    if (answer !== answers.get(`${target.name} ${k}`)) throw new Error(`${said}: gives other bits than at the start`);
  }

  /** What getters do while arguments are read: take buffers away, change what is in them, dispose, call. */
  let interfering = false;
  function interfere(m: Making, args: Record<string, unknown>) {
    if (interfering) return; // what it reads may have getters that interfere
    interfering = true;
    try {
      interfereOnce(m, args);
    } finally {
      interfering = false;
    }
  }
  function interfereOnce(m: Making, args: Record<string, unknown>) {
    const values = [args, ...Object.values(args).filter(isPlain)].flatMap((object) => Object.values(object));
    const arrays = [...values.filter(isTensor).map(dataOf), ...values].filter(
      (value): value is Int32Array =>
        ArrayBuffer.isView(value) &&
        (value instanceof Int32Array || value instanceof Float32Array || value instanceof Uint16Array),
    );
    const array = arrays.length ? m.of(arrays) : undefined;
    switch (m.int(0, 4)) {
      case 0:
        if (array?.buffer instanceof ArrayBuffer) structuredClone(array.buffer, { transfer: [array.buffer] });
        break;
      case 1:
        if (array?.byteLength) array.fill(m.of([-1, 2 ** 30, 7]));
        break;
      case 2: {
        const buffer = array?.buffer as unknown as {
          maxByteLength: number;
          resizable?: boolean;
          resize(bytes: number): void;
        };
        if (buffer?.resizable && array?.byteLength) buffer.resize(m.int(0, buffer.maxByteLength));
        break;
      }
      case 3:
        options.disturb(m);
        break;
      default: {
        const other = m.of(targets);
        try {
          const result = other.call(other.make(m));
          if (isPromise(result)) follow(result, { what: 'within another call' }, other.name);
        } catch (error) {
          const reason = untyped(error, { what: '' });
          if (reason) wrong(`${other.name}, within it, ${reason}`, error);
        }
      }
    }
  }

  let failure: Error | undefined;
  const failures: Error[] = [];
  function follow(promise: Promise<unknown>, fault: Fault, name: string) {
    const said = what;
    const counts = count(name);
    const followed = promise.then(
      () => {
        counts.accepted++;
        if (fault.mustFail) failure ??= new Error(`${said}: was accepted`);
      },
      (error) => {
        counts.refused++;
        options.refused?.(said, error);
        const reason = untyped(error, fault);
        if (reason) failure ??= new Error(`${said}: ${reason}`, { cause: error });
      },
    );
    pending.add(followed);
    followed.finally(() => pending.delete(followed));
  }

  function count(name: string) {
    let counts = report.perTarget.get(name);
    if (!counts) report.perTarget.set(name, (counts = { accepted: 0, refused: 0 }));
    return counts;
  }

  async function once(number: number) {
    const m = new Making((Math.imul(seed, 0x9e3779b1) + number) >>> 0, false, device);
    what = `call ${number}`;
    const mode = m.next();
    if (mode < 0.06) return checkKnown(m);
    const target = m.of(targets);
    what += ` ${target.name}`;
    const args = target.make(m);
    const faults: Fault[] = [];
    if (mode > 0.2) {
      const times = m.chance(0.2) ? 2 : 1;
      for (let k = 0; k < times && !faults.some((f) => f.unruly || f.foreign || f.last); k++)
        faults.push(target.spoil(m, args, () => interfere(m, args)));
    }
    const fault: Fault = {
      what: faults.map((f) => f.what).join('; ') || 'right arguments',
      // A second fault may take the first away.
      mustFail: faults.length === 1 && faults[0].mustFail,
      foreign: faults.some((f) => f.foreign),
    };
    what += `: ${fault.what}`;
    if (options.trace !== undefined) writeSync(options.trace, `${what}`.padEnd(500).slice(0, 500), 0);
    const calm = !faults.some((f) => f.unruly);
    const inputs = calm
      ? Object.entries(args)
          .filter(([name]) => !target.outputs.includes(name))
          .flatMap(([name, value]) => copyOf(name, value))
      : [];
    const counts = count(target.name);
    try {
      const result = target.call(args);
      if (isPromise(result)) {
        follow(result, fault, target.name);
        // The call is under way: what it needs it must have.
        if (m.chance(0.3)) {
          interfere(m, args);
          inputs.length = 0;
        }
      } else {
        counts.accepted++;
        if (fault.mustFail) wrong('was accepted');
      }
    } catch (error) {
      if (error instanceof Error && error.message.startsWith(what)) throw error;
      counts.refused++;
      options.refused?.(what, error);
      const reason = untyped(error, fault);
      if (reason) wrong(reason, error);
      if (
        faults.length === 0 &&
        target.unsupported &&
        (error as PrlError).code !== 'ERR_PRL_UNSUPPORTED' &&
        (error as PrlError).code !== 'ERR_PRL_INVALID_ARGUMENT'
      )
        wrong('was refused in another way than where there is no GPU', error);
    }
    if (m.overrun()) wrong('wrote beyond an array');
    for (const { name, array, bytes, copy } of inputs) {
      if (array.byteLength === bytes && bytesOf(array) !== copy) wrong(`changed its input ${name}`);
    }
  }

  for (let number = options.only ?? 0; number < (options.only === undefined ? calls : options.only + 1); number++) {
    try {
      await once(number);
    } catch (error) {
      if (!options.all) throw error;
      failures.push(error as Error);
    }
    report.calls++;
    if (pending.size > 20 || number % 64 === 63) {
      await Promise.all(pending);
      await options.settle();
    }
    if (failure && options.all) failures.push(failure);
    else if (failure) throw failure;
    failure = undefined;
  }
  await Promise.all(pending);
  await options.settle();
  if (failure) failures.push(failure);
  if (failures.length)
    throw failures.length === 1 ? failures[0] : new AggregateError(failures, `${failures.length} calls went wrong`);
  for (const { accepted, refused } of report.perTarget.values()) {
    report.accepted += accepted;
    report.refused += refused;
  }
  return report;
}

const isPlain = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

/** The array of a CPU tensor that still has one. */
function dataOf(tensor: { data?: unknown }): unknown {
  try {
    return tensor.data;
  } catch {
    return undefined;
  }
}

const bytesOf = (array: ArrayBufferView) =>
  array.byteLength
    ? Buffer.from(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength).toString('latin1')
    : '';

/** What an input holds before the call. */
function copyOf(name: string, value: unknown) {
  const array = isTensor(value) ? dataOf(value) : value;
  return ArrayBuffer.isView(array) ? [{ name, array, bytes: array.byteLength, copy: bytesOf(array) }] : [];
}

async function readable(value: unknown): Promise<unknown> {
  if (typeof value === 'object' && value !== null && 'memory' in value && !('read' in value)) {
    const { native } = await import('../../lib/kernels/native.js');
    const { memory, shape, dtype } = value as { memory: object; shape: number[]; dtype: string };
    const size = dtype.endsWith('16') ? 2 : 4;
    return native()
      .cudaRead({ memory, bytes: size * shape.reduce((a, b) => a * b, 1) })
      .catch(() => 'no');
  }
  return value;
}
