// Draws the charts of the page with uPlot, in the colours of the page's style.
(() => {
  const { uPlot } = window;
  const charts = JSON.parse(document.getElementById('charts').textContent);
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const format = (value) => (value === null || value === undefined ? '' : String(Number(value.toPrecision(3))));
  const sync = uPlot.sync('steps');
  const drawn = [];

  /** uPlot's series: the mean of each curve, and the two edges of its band if it has one. */
  function seriesOf({ steps, curves }) {
    const data = [steps];
    const series = [{}];
    const bands = [];
    for (const { color, mean, low, high } of curves) {
      const stroke = style(`--c${color % 8}`);
      data.push(mean);
      series.push({ stroke, width: 2, spanGaps: true, points: { show: steps.length < 3 } });
      if (!low) continue;
      const edge = { width: 0, spanGaps: true, points: { show: false } };
      data.push(high, low);
      series.push(edge, edge);
      bands.push({ series: [series.length - 2, series.length - 1], fill: `${stroke}33` });
    }
    return { data, series, bands };
  }

  /** Writes the line under a chart: the values of the curves at the cursor, or at their end. */
  function showNumbers(legend, { steps, curves }, at) {
    const last = curves.reduce(
      (max, { mean }) =>
        Math.max(
          max,
          mean.findLastIndex((value) => value !== null),
        ),
      0,
    );
    const index = at ?? last;
    legend.textContent = '';
    const add = (name, text, color) => {
      const item = document.createElement('span');
      item.className = name;
      item.textContent = text;
      if (color) item.style.setProperty('--c', color);
      legend.append(item);
    };
    add('at', `step ${steps[index]}`);
    for (const { label, color, mean, low, high } of curves) {
      const band = low && low[index] !== null ? ` [${format(low[index])}, ${format(high[index])}]` : '';
      add('curve', `${label} ${format(mean[index])}${band}`, style(`--c${color % 8}`));
    }
  }

  /** The range of an axis. A constant curve gets a range around its value. */
  function range(_, low, high) {
    if (low === null) return [0, 1];
    const around = Math.abs(low) / 10 || 1;
    return low === high ? [low - around, low + around] : uPlot.rangeNum(low, high, 0.1, true);
  }

  function draw(figure) {
    const chart = charts[Number(figure.dataset.chart)];
    const { data, series, bands } = seriesOf(chart);
    const axis = { stroke: style('--dim'), grid: { stroke: style('--line'), width: 1 }, ticks: { show: false } };
    const place = document.createElement('div');
    const legend = document.createElement('p');
    legend.className = 'legend';
    figure.append(place, legend);
    const plot = new uPlot(
      {
        width: Math.max(200, figure.clientWidth),
        height: 190,
        legend: { show: false },
        scales: { x: { time: false }, y: { range } },
        axes: [
          { ...axis, size: 28 },
          { ...axis, size: 52, values: (_, ticks) => ticks.map(format) },
        ],
        cursor: { sync: { key: sync.key }, y: false },
        hooks: { setCursor: [({ cursor }) => showNumbers(legend, chart, cursor.idx)] },
        series,
        bands,
      },
      data,
      place,
    );
    showNumbers(legend, chart);
    drawn.push({ figure, plot, parts: [place, legend] });
  }

  function redraw() {
    for (const { plot, parts } of drawn.splice(0)) {
      plot.destroy();
      for (const part of parts) part.remove();
    }
    for (const figure of document.querySelectorAll('.chart')) if (figure.clientWidth > 0) draw(figure);
  }

  redraw();
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  for (const details of document.querySelectorAll('details')) details.addEventListener('toggle', redraw);
  let width = document.documentElement.clientWidth;
  window.addEventListener('resize', () => {
    // A phone's address bar changes the height only.
    if (document.documentElement.clientWidth !== width) redraw();
    width = document.documentElement.clientWidth;
  });
})();
