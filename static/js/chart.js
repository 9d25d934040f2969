// Draws the table inside each <figure data-chart> with uPlot: stacked bars for counts, lines for latencies. The table stays.
// Head cells carry data-series (the colour), row heads data-t (seconds since 1970); every other cell is a plain number.
import { chosen, format as inZone } from "./zone.js";

const uPlot = window.uPlot;
const AXIS = "11px Inter, system-ui, sans-serif";

const colour = (name) => {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
};

function read(table) {
  const heads = [...table.tHead.rows[0].cells].slice(1);
  const rows = [...table.tBodies[0].rows];
  const number = (cell) => (cell.textContent.trim() === "" || cell.textContent.trim() === "–" ? null : Number(cell.textContent));
  return {
    series: heads.map((head) => ({ label: head.textContent.trim(), name: head.dataset.series })),
    times: rows.map((row) => Number(row.cells[0].dataset.t)),
    columns: heads.map((_, i) => rows.map((row) => number(row.cells[i + 1]))),
  };
}

// Each series drawn on top of the sum of those before it; drawn from the last to the first, so that the first is in front.
function stack(columns) {
  const sum = new Array(columns[0].length).fill(0);
  return columns.map((column) => column.map((value, i) => (sum[i] += value ?? 0)));
}

// Values without a neighbour: a line would not show them.
const lonely = (column) =>
  column.flatMap((value, i) => (value !== null && (column[i - 1] ?? null) === null && (column[i + 1] ?? null) === null ? [i] : []));

const format = (value, unit) => {
  if (value === null || value === undefined) return "–";
  if (unit === "ms" && value >= 1000) return `${(value / 1000).toLocaleString("en", { maximumFractionDigits: 2 })} s`;
  const text = value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 2 : 1 });
  return unit === "ms" ? `${text} ms` : text;
};

const tick = (value, unit) => {
  if (unit === "ms") return value >= 1000 ? `${value / 1000} s` : `${value} ms`;
  // There is no half a call.
  if (!Number.isInteger(value)) return "";
  return new Intl.NumberFormat("en", { notation: "compact" }).format(value);
};

// Days on a long axis, times of day on a short one; a label that repeats the one before it is left out.
function moments(splits, times) {
  const long = times.at(-1) - times[0] > 2 * 86_400;
  const text = inZone(long ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" });
  const labels = splits.map((split) => text(split * 1000));
  return labels.map((label, i) => (label === labels[i - 1] ? "" : label));
}

function tooltip(source, unit, marksAt) {
  const box = document.createElement("div");
  box.className = "chart-tip";
  box.hidden = true;
  const time = inZone({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  return {
    hooks: {
      init: (plot) => plot.over.append(box),
      setCursor: (plot) => {
        const i = plot.cursor.idx;
        box.hidden = i === null || i === undefined || plot.cursor.left < 0;
        if (box.hidden) return;
        const head = document.createElement("strong");
        head.textContent = time(source.times[i] * 1000) + (chosen() === "utc" ? " UTC" : "");
        const lines = source.series.map((series, s) => {
          const line = document.createElement("span");
          const swatch = document.createElement("i");
          swatch.className = `swatch swatch-${series.name}`;
          const value = document.createElement("b");
          value.textContent = format(source.columns[s][i], unit);
          line.append(swatch, series.label, value);
          return line;
        });
        const changes = marksAt(i).slice(0, 4).map((mark) => {
          const line = document.createElement("span");
          line.className = "chart-tip-mark";
          const swatch = document.createElement("i");
          swatch.className = `swatch mark-${mark.kind}`;
          line.append(swatch, mark.text);
          return line;
        });
        box.replaceChildren(head, ...lines, ...changes);
        const room = plot.over.clientWidth - box.offsetWidth;
        const left = plot.cursor.left + 14;
        box.style.left = `${Math.max(0, left > room ? plot.cursor.left - box.offsetWidth - 14 : left)}px`;
      },
    },
  };
}

// What was changed meanwhile, from the list of the page: a line for each, and words beside the numbers of its point.
const marks = [...document.querySelectorAll("[data-marks] [data-t]")].map((entry) => ({
  t: Number(entry.dataset.t),
  kind: entry.dataset.kind,
  text: entry.querySelector("a").textContent,
}));

function marked(source) {
  // Lines of one point lie on each other; what they say stands in one place.
  const at = (i) => {
    const end = source.times[i + 1] ?? Infinity;
    return marks.filter((mark) => mark.t < end && (mark.t >= source.times[i] || i === 0));
  };
  const draw = (plot) => {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.lineWidth = ratio;
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    for (const mark of marks) {
      if (mark.t < plot.scales.x.min || mark.t > plot.scales.x.max) continue;
      const x = Math.round(plot.valToPos(mark.t, "x", true)) + 0.5;
      ctx.strokeStyle = ctx.fillStyle = colour(`--mark-${mark.kind}`);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.beginPath();
      ctx.moveTo(x - 4 * ratio, bbox.top);
      ctx.lineTo(x + 4 * ratio, bbox.top);
      ctx.lineTo(x, bbox.top + 6 * ratio);
      ctx.fill();
    }
    ctx.restore();
  };
  return { at, plugin: { hooks: { draw } } };
}

function options(figure, source, size) {
  const stacked = figure.dataset.chart === "stacked";
  const unit = figure.dataset.unit;
  const changes = marked(source);
  const halfStep = (source.times[1] - source.times[0]) / 2;
  const grid = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: colour("--text-3"), font: AXIS, ticks: { show: false } };
  const drawn = source.series.map((series, s) => {
    const ink = colour(`--series-${series.name}`);
    return stacked
      ? { fill: ink, stroke: ink, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.72, 26] }) }
      : { stroke: ink, width: 1.75, points: { show: true, size: 5, fill: ink, filter: () => lonely(source.columns[s]) }, paths: uPlot.paths.linear() };
  });
  return {
    ...size,
    // Where ticks fall: on whole hours and days of the zone that is shown.
    ...(chosen() === "utc" ? { tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC") } : {}),
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: !stacked, size: 7 }, drag: { x: false, y: false } },
    plugins: [tooltip(source, unit, changes.at), changes.plugin],
    scales: {
      x: stacked && source.times.length > 1
        ? { range: (_, min, max) => [min - halfStep, max + halfStep] }
        : {},
      y: { range: (_, __, max) => [0, max > 0 ? max * 1.08 : 1] },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 28, gap: 6, space: 72, values: (_, splits) => moments(splits, source.times) },
      { ...axis, grid, size: 52, gap: 6, space: 44, values: (_, splits) => splits.map((split) => tick(split, unit)) },
    ],
    series: stacked ? [{}, ...drawn.reverse()] : [{}, ...drawn],
  };
}

function draw(figure) {
  const canvas = figure.querySelector("[data-canvas]");
  const source = read(figure.querySelector("table"));
  if (!uPlot || source.times.length === 0) return;
  canvas.hidden = false;

  figure.querySelector("[data-legend]").replaceChildren(
    ...source.series.map((series) => {
      const entry = document.createElement("span");
      const swatch = document.createElement("i");
      swatch.className = `swatch swatch-${series.name}`;
      entry.append(swatch, series.label);
      return entry;
    }),
  );

  const stacked = figure.dataset.chart === "stacked";
  const columns = stacked ? stack(source.columns).reverse() : source.columns;
  const size = () => ({ width: canvas.clientWidth, height: canvas.clientHeight });
  let plot;
  const redraw = () => {
    plot?.destroy();
    plot = new uPlot(options(figure, source, size()), [source.times, ...columns], canvas);
  };
  redraw();
  new ResizeObserver(() => plot.width !== canvas.clientWidth && plot.setSize(size())).observe(canvas);
  document.addEventListener("themechange", redraw);
  document.addEventListener("zonechange", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

await document.fonts.ready;
for (const figure of document.querySelectorAll("figure[data-chart]")) draw(figure);
