import { Tensor } from '../lib/index.js';
import { native } from '../lib/kernels/native.js';
import type { Contestant, Group } from './harness.js';
import { agree, normal, ROUNDOFF, type Scale } from './inputs.js';

/** What the CPU computes at best: the product of two squares. */
export function matrixProduct(n: number): Contestant {
  const [a, b] = [0, n * n].map((from) =>
    Tensor.from(Float32Array.from({ length: n * n }, (_, i) => normal(from + i))),
  );
  const args = { a, b, c: Tensor.zeros([n, n]), m: n, n, k: n, transposeA: false, transposeB: false };
  return {
    name: 'matrix product',
    run: () => void native().gemm({ ...args, accumulate: false, pack: false }),
    operations: 2 * n ** 3,
    limit: true,
  };
}

/** The CPU's float32 matrix product, on which the policy network is built. On the GPU cuBLAS does this. */
export const gemmGroups = ({ device: where, tiny }: Scale): Group[] => {
  if (where !== 'cpu') return [];
  const n = tiny ? 32 : 512;
  return [
    {
      name: `gemm ${n} x ${n} x ${n} float32`,
      setup() {
        const square = (from: number) => Float32Array.from({ length: n * n }, (_, i) => normal(from + i));
        const [a, b] = [square(0), square(n * n)];
        const c = Tensor.zeros([n, n]);
        const args = { a: Tensor.from(a), b: Tensor.from(b), c, m: n, n, k: n, transposeA: false, transposeB: false };
        const run = () => void native().gemm({ ...args, accumulate: false, pack: false });
        run();
        // A sum of n products of normal numbers: roundings of both signs of numbers up to sqrt(n).
        const absolute = 8 * ROUNDOFF.float32 * n;
        return {
          contestants: [{ name: 'matrix product', run, operations: 2 * n ** 3, versusPeers: true }],
          peers: {
            kind: 'gemm',
            parameters: { n },
            arrays: { a, b },
            verify: agree({ c: { values: c.data.slice(), absolute } }),
          },
        };
      },
    },
  ];
};
