import type { Chart } from './curves.js';
import { type Html, html } from './html.js';

const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [560, 300, 52, 30, 34];
const COLORS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#b09000', '#56b4e9', '#7a4fc9', '#808080'];

/** Round numbers from low to high, about `count`. */
export function ticks(low: number, high: number, count: number): number[] {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= raw) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) =>
    Number(((first + i) * step).toPrecision(12)),
  );
}

/** A chart as an SVG file, legible on light and dark backgrounds. */
export function chartSvg({ title, steps, curves }: Chart): string {
  const values = curves
    .flatMap(({ mean, low, high }) => [mean, low ?? [], high ?? []].flat())
    .filter((value) => value !== null);
  let [bottom, top] = [Math.min(...values), Math.max(...values)];
  const room = (top - bottom) * 0.05 || Math.abs(top) / 10 || 1;
  [bottom, top] = [bottom - room, top + room];
  const [first, last] = [steps[0], Math.max(steps[steps.length - 1], steps[0] + 1)];
  const right = WIDTH - 120;
  const x = (step: number) => LEFT + ((step - first) / (last - first)) * (right - LEFT);
  const y = (value: number) => HEIGHT - BOTTOM - ((value - bottom) / (top - bottom)) * (HEIGHT - BOTTOM - TOP);
  const points = (line: readonly (number | null)[]) =>
    line.flatMap((value, i) => (value === null ? [] : `${x(steps[i]).toFixed(1)},${y(value).toFixed(1)}`));
  const drawn = curves.map(({ color, mean, low, high, label }, i): Html => {
    const paint = COLORS[color % COLORS.length];
    const band = low && [...points(high!), ...points(low).reverse()];
    return html`${band && html`<polygon points="${band.join(' ')}" fill="${paint}" fill-opacity="0.18"/>`}
<polyline points="${points(mean).join(' ')}" fill="none" stroke="${paint}" stroke-width="2" stroke-linejoin="round"/>
<rect x="${right + 12}" y="${TOP + 20 * i}" width="12" height="12" fill="${paint}"/><text x="${right + 30}" y="${TOP + 10 + 20 * i}">${label}</text>\n`;
  });
  return html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="12">
<title>${title}</title>
<style>text{fill:#333}line{stroke:#8885}@media(prefers-color-scheme:dark){text{fill:#ccc}}</style>
<text x="${LEFT}" y="18" font-weight="bold" font-size="14">${title}</text>
${ticks(bottom, top, 5).map((value) => html`<line x1="${LEFT}" x2="${right}" y1="${y(value).toFixed(1)}" y2="${y(value).toFixed(1)}"/><text x="${LEFT - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end">${value}</text>\n`)}
${ticks(first, last, 6).map((step) => html`<text x="${x(step).toFixed(1)}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${step}</text>`)}
<text x="${(LEFT + right) / 2}" y="${HEIGHT - 3}" text-anchor="middle">step</text>
${drawn}</svg>
`.text;
}
