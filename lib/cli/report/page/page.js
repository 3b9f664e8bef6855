// Draws the charts of the page with uPlot, in the colours of the page's style. One legend switches the runs in all.
(() => {
  const { uPlot } = window;
  const PALETTE = 8;
  /** Raw lines of more runs, or seeds and bands of more, would hide each other. */
  const [MOST_RAW, MOST_BANDS] = [4, 2];
  const charts = JSON.parse(document.getElementById('charts').textContent);
  const buttons = [...document.querySelectorAll('.legend [data-run]')];
  const slider = document.getElementById('smoothing');
  const root = document.documentElement;
  const style = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const format = (value) => {
    if (value === null || value === undefined) return '';
    const text = String(Number(value.toPrecision(3)));
    return text.length > 7 ? Number(text).toExponential() : text;
  };
  const sync = uPlot.sync('steps');
  const drawn = [];

  const hidden = new Set();
  /** The run that is brought out: its number, or null. */
  let lit = null;
  let smoothing = Number(slider.value);

  /**
   * An exponential average, corrected for its beginning. Gaps stay gaps. A curve that is mostly gaps has evaluations
   * now and then, and each stands for itself.
   */
  function smooth(values) {
    if (smoothing === 0 || values.filter((value) => value !== null).length < values.length / 2) return values;
    let [sum, weight] = [0, 0];
    return values.map((value) => {
      if (value === null) return null;
      sum = smoothing * sum + (1 - smoothing) * value;
      weight = smoothing * weight + (1 - smoothing);
      return sum / weight;
    });
  }

  /** How strongly a part of a run is drawn, from 0 to 1. */
  function strength(run, part) {
    const others = lit !== null && lit !== run;
    const shown = Math.max(1, buttons.length) - hidden.size;
    if (part === 'line') return others ? 0.2 : 1;
    if (others) return 0;
    const detailed = lit === run || shown <= (part === 'raw' ? MOST_RAW : MOST_BANDS);
    return !detailed || (part === 'raw' && smoothing === 0) ? 0 : { raw: 0.3, seed: 0.35, band: 0.15 }[part];
  }
  const colorOf = (run) => style(`--c${run % PALETTE}`);
  const paint = (run, part) => () =>
    colorOf(run) +
    Math.round(255 * strength(run, part))
      .toString(16)
      .padStart(2, '0');

  /** uPlot's series of a chart: each curve's band, seeds and data, and its line on top. */
  function seriesOf({ steps, curves }) {
    const data = [steps];
    const series = [{}];
    const bands = [];
    const runs = [null];
    const add = (run, values, options) => {
      data.push(values);
      series.push({ spanGaps: true, points: { show: false }, show: !hidden.has(run), ...options });
      runs.push(run);
      return series.length - 1;
    };
    for (const { color: run, low, high } of curves) {
      if (!low) continue;
      const edges = [add(run, high, { width: 0 }), add(run, low, { width: 0 })];
      bands.push({ series: edges, fill: paint(run, 'band') });
    }
    for (const { color: run, seeds = [] } of curves)
      for (const seed of seeds) add(run, seed, { stroke: paint(run, 'seed'), width: 1 });
    const lines = [];
    for (const { color: run, mean } of curves) {
      add(run, mean, { stroke: paint(run, 'raw'), width: 1 });
      const few = mean.filter((value) => value !== null).length < 3;
      const stroke = paint(run, 'line');
      const dash = run >= PALETTE ? [6, 4] : undefined;
      const points = few ? { show: true, size: 8, stroke, fill: stroke } : { show: false };
      lines.push(add(run, smooth(mean), { stroke, width: 2, dash, points }));
    }
    return { data, series, bands, runs, lines };
  }

  /** Shows the numbers at the cursor over the chart that it points at. */
  function showNumbers(tip, { steps, curves }, index) {
    tip.textContent = '';
    tip.hidden = index === null || index === undefined;
    if (tip.hidden) return;
    const add = (text, run) => {
      const line = document.createElement('span');
      line.textContent = text;
      if (run !== undefined) {
        line.className = 'curve';
        line.style.setProperty('--c', `var(--c${run % PALETTE})`);
      }
      tip.append(line);
    };
    add(`step ${steps[index]}`);
    for (const { label, color, mean, low, high } of curves) {
      if (hidden.has(color) || mean[index] === null) continue;
      const band = low && low[index] !== null ? ` [${format(low[index])}, ${format(high[index])}]` : '';
      add(`${curves.length > 1 ? `${label} ` : ''}${format(mean[index])}${band}`, color);
    }
  }

  /** The range of an axis: its fixed ends; around the data at the others. */
  function rangeOf([bottom, top]) {
    return (_, low, high) => {
      if (bottom !== null && top !== null) return [bottom, top];
      if (low === null) return [bottom ?? 0, (bottom ?? 0) + 1];
      const around = Math.abs(low) / 10 || 1;
      const [from, to] =
        low === high ? [low - around, high + around] : [low, high + (bottom === null ? 0 : 0.05 * (high - bottom))];
      if (bottom !== null) return [bottom, to];
      return low === high ? [from, to] : uPlot.rangeNum(low, high, 0.1, true);
    };
  }

  function draw(figure) {
    const chart = charts[Number(figure.dataset.chart)];
    const { data, series, bands, runs, lines } = seriesOf(chart);
    const axis = { stroke: style('--dim'), grid: { stroke: style('--line'), width: 1 }, ticks: { show: false } };
    const place = document.createElement('div');
    place.className = 'plot';
    place.setAttribute('role', 'img');
    place.setAttribute('aria-label', `Chart of ${figure.querySelector('figcaption').firstChild.textContent}`);
    const tip = document.createElement('p');
    tip.className = 'tip';
    tip.hidden = true;
    figure.querySelector('figcaption').after(place);
    const plot = new uPlot(
      {
        width: Math.max(200, figure.clientWidth),
        height: 200,
        legend: { show: false },
        scales: { x: { time: false }, y: { range: rangeOf(chart.range) } },
        axes: [
          { ...axis, size: 28 },
          { ...axis, size: 56, values: (_, ticks) => ticks.map(format) },
        ],
        cursor: { sync: { key: sync.key }, y: false },
        hooks: {
          setCursor: [({ cursor }) => showNumbers(tip, chart, figure.dataset.pointed === '' ? cursor.idx : null)],
        },
        series,
        bands,
      },
      data,
      place,
    );
    place.append(tip);
    drawn.push({ figure, plot, place, chart, runs, lines });
  }

  function redraw() {
    for (const { plot, place } of drawn.splice(0)) {
      plot.destroy();
      place.remove();
    }
    for (const figure of document.querySelectorAll('.chart')) if (figure.clientWidth > 0) draw(figure);
  }

  function bringOut(run) {
    lit = hidden.has(run) ? null : run;
    for (const { plot } of drawn) plot.redraw(false);
  }

  function toggle(button) {
    const run = Number(button.dataset.run);
    if (!hidden.delete(run)) hidden.add(run);
    button.setAttribute('aria-pressed', String(!hidden.has(run)));
    lit = null;
    for (const { plot, runs } of drawn)
      plot.batch(() => {
        for (const [i, each] of runs.entries()) if (each === run) plot.setSeries(i, { show: !hidden.has(run) });
      });
  }

  const showSmoothing = () => {
    slider.parentNode.querySelector('output').textContent = smoothing.toFixed(2);
  };

  function changeSmoothing() {
    smoothing = Number(slider.value);
    showSmoothing();
    for (const { plot, chart, lines } of drawn) {
      const data = [...plot.data];
      lines.forEach((line, i) => {
        data[line] = smooth(chart.curves[i].mean);
      });
      plot.setData(data, false);
      plot.redraw();
    }
  }

  redraw();
  showSmoothing();
  slider.addEventListener('input', changeSmoothing);
  for (const button of buttons) {
    const run = Number(button.dataset.run);
    button.addEventListener('click', () => toggle(button));
    for (const event of ['mouseenter', 'focus']) button.addEventListener(event, () => bringOut(run));
    for (const event of ['mouseleave', 'blur']) button.addEventListener(event, () => bringOut(null));
  }
  for (const figure of document.querySelectorAll('.chart')) {
    figure.addEventListener('mouseenter', () => {
      figure.dataset.pointed = '';
    });
    figure.addEventListener('mouseleave', () => {
      delete figure.dataset.pointed;
    });
  }
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  // Paper is light.
  for (const event of ['beforeprint', 'afterprint'])
    window.addEventListener(event, () => {
      root.classList.toggle('print', event === 'beforeprint');
      redraw();
    });
  for (const details of document.querySelectorAll('details')) details.addEventListener('toggle', redraw);
  let width = root.clientWidth;
  window.addEventListener('resize', () => {
    // A phone's address bar changes the height only.
    if (root.clientWidth !== width) redraw();
    width = root.clientWidth;
  });
})();
