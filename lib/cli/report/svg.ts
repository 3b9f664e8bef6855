import { type Chart, PALETTE } from './curves.js';
import { Html, html } from './html.js';

const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [600, 300, 52, 34, 38];
/** Okabe and Ito's colours, which the colour-blind can tell apart, for a light ground and for a dark one. */
const COLORS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#8a6d00', '#56b4e9', '#7a4fc9', '#555555'];
const DARK_COLORS = ['#4aa8ff', '#ff8c42', '#2fc9a0', '#eb9ac6', '#d8b93a', '#8fd3ff', '#b395f5', '#aaaaaa'];
/** Bands of more curves would hide each other. */
const MOST_BANDS = 2;

const DARK = [
  '.ground{fill:#14171a}text{fill:#d5d9dd}line{stroke:#3a424a}',
  ...DARK_COLORS.map((color, i) => `.c${i}{stroke:${color}}.f${i}{fill:${color}}`),
].join('');

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

/** The axis: its fixed ends, and a little room around the data at the others. */
function axisOf({ range, curves }: Pick<Chart, 'range' | 'curves'>, banded: boolean): [number, number] {
  const values = curves
    .flatMap(({ mean, low = [], high = [] }) => [mean, ...(banded ? [low, high] : [])].flat())
    .filter((value) => value !== null);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = (most - least) * 0.05 || Math.abs(most) / 10 || 1;
  const [bottom, top] = [range[0] ?? least - room, range[1] ?? most + room];
  return bottom < top ? [bottom, top] : [bottom, bottom + 1];
}

/** Many noisy lines are smoothed, so that the eye can follow each. */
const [SMOOTHING, SMOOTHED_POINTS] = [0.8, 20];

/** Evaluations now and then: each stands for itself. */
const isSparse = (values: readonly (number | null)[]) =>
  values.filter((value) => value !== null).length < values.length / 2;

/** An exponential average, corrected for its beginning. */
function smooth(values: readonly (number | null)[]): (number | null)[] {
  let [sum, weight] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = SMOOTHING * sum + (1 - SMOOTHING) * value;
    weight = SMOOTHING * weight + (1 - SMOOTHING);
    return sum / weight;
  });
}

/** A chart as an SVG file. It brings its own ground, so that it is legible on every page, light or dark. */
export function chartSvg({ title, steps, curves: all, range }: Chart): string {
  const banded = all.length <= MOST_BANDS;
  const crowded = !banded && steps.length >= SMOOTHED_POINTS;
  const smoothed = crowded && all.some(({ mean }) => !isSparse(mean));
  const curves = all.map((curve) =>
    crowded && !isSparse(curve.mean) ? { ...curve, mean: smooth(curve.mean) } : curve,
  );
  const [bottom, top] = axisOf({ range, curves }, banded);
  const [first, last] = [steps[0], Math.max(steps[steps.length - 1], steps[0] + 1)];
  const right = WIDTH - Math.min(240, 48 + 7 * Math.max(...curves.map(({ label }) => label.length)));
  const x = (step: number) => LEFT + ((step - first) / (last - first)) * (right - LEFT);
  const y = (value: number) => HEIGHT - BOTTOM - ((value - bottom) / (top - bottom)) * (HEIGHT - BOTTOM - TOP);
  const points = (line: readonly (number | null)[]) =>
    line.flatMap((value, i) => (value === null ? [] : [`${x(steps[i]).toFixed(1)},${y(value).toFixed(1)}`]));
  const drawn = curves.map(({ color, mean, low, high, label }, i): Html => {
    const index = color % PALETTE;
    const paint = COLORS[index];
    const band = banded && low && [...points(high!), ...points(low).reverse()];
    const at = points(mean);
    const dash = color >= PALETTE && html` stroke-dasharray="6 3"`;
    return html`${band && html`<polygon class="f${index}" points="${band.join(' ')}" fill="${paint}" fill-opacity="0.18"/>`}
${at.length === 1 ? html`<circle class="f${index}" cx="${at[0].split(',')[0]}" cy="${at[0].split(',')[1]}" r="3.5" fill="${paint}"/>` : html`<polyline class="c${index}" points="${at.join(' ')}" fill="none" stroke="${paint}" stroke-width="2" stroke-linejoin="round"${dash}/>`}
<rect class="f${index}" x="${right + 12}" y="${TOP + 20 * i}" width="12" height="12" fill="${paint}"/><text x="${right + 30}" y="${TOP + 10 + 20 * i}" fill="#24292f">${label}</text>\n`;
  });
  const text = (at: string, value: string | number) => html`<text ${new Html(at)} fill="#24292f">${value}</text>\n`;
  return html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="12" role="img">
<title>${title}</title>
<style>@media(prefers-color-scheme:dark){${new Html(DARK)}}</style>
<rect class="ground" width="${WIDTH}" height="${HEIGHT}" rx="6" fill="#ffffff"/>
${text(`x="${LEFT}" y="20" font-weight="bold" font-size="14"`, title)}${ticks(bottom, top, 5).map((value) => {
  const at = y(value).toFixed(1);
  return html`<line x1="${LEFT}" x2="${right}" y1="${at}" y2="${at}" stroke="#d0d7de"/>${text(`x="${LEFT - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end"`, value)}`;
})}${ticks(first, last, 6).map((step) => text(`x="${x(step).toFixed(1)}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle"`, step))}${text(`x="${(LEFT + right) / 2}" y="${HEIGHT - 6}" text-anchor="middle"`, smoothed ? `step (exponential averages, weight ${SMOOTHING})` : 'step')}${drawn}</svg>
`.text;
}
