import { randomStream } from '../../base/random.js';

/**
 * Points at which functions are compared. An identity of positive numbers, such as sqrt(x^2) = x, holds at the first
 * ones; those after them have symbols below 0.
 */
const POINTS: readonly { low: number; high: number; turn?: number; signed?: 'mixed' | 'negative' }[] = [
  { low: 0.4, high: 2.2 },
  { low: 0.4, high: 2.2, turn: 0.5 },
  { low: 0.001, high: 0.01 },
  { low: 5, high: 40 },
  { low: 0.4, high: 2.2, signed: 'negative' },
  { low: 0.3, high: 3, signed: 'mixed' },
];
export const POINT_NUMBERS: readonly number[] = POINTS.map((_, k) => k);
/** Further points for functions with steps, such as a floor: few points see where a step is. */
export const STEP_POINTS: readonly number[] = Array.from({ length: 24 }, (_, k) => POINTS.length + k);
const STEPS = { low: 0.1, high: 30 };

const shapeOf = (point: number): (typeof POINTS)[number] => POINTS[point] ?? STEPS;
export const isPositive = (point: number) => shapeOf(point).signed === undefined;
export const isComplex = (point: number) => shapeOf(point).turn !== undefined;

/** The value of a symbol at a point. It depends on both, and has 40 bits after the point. */
export function symbolPoint(name: string, point: number): { re: number; im: number } {
  const { low, high, turn = 0, signed } = shapeOf(point);
  const random = randomStream(name, point);
  const radius = low + (high - low) * random();
  const angle = turn * (random() - 0.5);
  const sign = signed === 'negative' || (signed === 'mixed' && random() < 0.5) ? -1 : 1;
  const short = (x: number) => Math.round(sign * x * 2 ** 40) / 2 ** 40;
  return { re: short(radius * Math.cos(angle)), im: short(radius * Math.sin(angle)) };
}
