#!/usr/bin/env node
// Stands in for a python with peers: speaks as bench/peers/server.py does. Its case doubles the numbers x.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

if (process.env.FAKE_PEER === 'broken') {
  console.error('ImportError: no module named torch');
  process.exit(3);
}
const scratch = process.argv[process.argv.indexOf('--scratch') + 1];
const say = (answer) => console.log(JSON.stringify({ ...answer, cpuSeconds: process.cpuUsage().user / 1e6 }));
say({ versions: { fake: '1.0' }, missing: [{ name: 'trl', reason: 'not installed here' }] });

let variants;
let doubled;
let timed = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const { op, variant, arrays, parameters } = JSON.parse(line);
  if (op === 'load') {
    variants = parameters.variants.split(',');
    const bytes = readFileSync(arrays.x.file);
    doubled = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4).map((x) => 2 * x);
    say({
      variants: variants.map((name) => ({ name, family: name.split(':')[0] })),
      rejected: [{ name: 'absent', reason: 'no such package' }],
    });
  } else if (op === 'check') {
    if (variant === 'dies when checked') process.kill(process.pid, 'SIGKILL');
    if (variant === 'cannot') {
      say({ error: 'RuntimeError: not for this type' });
      continue;
    }
    const values = variant === 'short' ? doubled.slice(1) : doubled.slice();
    if (variant === 'off by one bit') values[1] *= 1 + 2 ** -23;
    if (variant === 'nan') values[2] = Number.NaN;
    const file = join(scratch, 'out');
    writeFileSync(file, values);
    const outputs = variant === 'nameless' ? {} : { y: { file, dtype: 'float32' } };
    say({ outputs, yardstick: variant === 'yardstick', extraBytes: 8 });
  } else if (op === 'time') {
    if (variant === 'dies when timed' && ++timed === 5) {
      console.error('Segmentation fault');
      process.exit(139);
    }
    // 'family: slow' is slower than 'family: fast'; the sixth run of 'gives up' fails.
    if (variant === 'gives up' && ++timed === 6) say({ error: 'RuntimeError: out of memory' });
    else say({ milliseconds: variant.endsWith('slow') ? 30 : 10 });
  } else say({});
}
