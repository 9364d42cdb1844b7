// Charts: specifications of Vega-Lite, drawn as SVG in the colours of the page, each with its rows as a table.

const INK = "var(--ink)";
const QUIET = "var(--quiet)";
const ACCENT = "var(--accent)";

const LOOK = {
  background: null,
  font: "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif",
  padding: { left: 0, right: 8, top: 6, bottom: 6 },
  view: { stroke: null },
  axis: {
    domainColor: "var(--line)", gridColor: "var(--grid)", tickColor: "var(--line)", labelColor: QUIET, titleColor: QUIET,
    labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelPadding: 6,
  },
  axisX: { grid: false },
  axisY: { domain: false, ticks: false, tickCount: 4 },
};
// The interpreter needs no `eval`, which the page's policy forbids.
const EMBEDDING = { renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true } };

const time = { field: "time", type: "temporal", scale: { type: "utc" }, axis: { title: null, format: "%e %b", tickCount: { signal: "width / 90" }, labelOverlap: true, labelFlush: true } };
const share = (field, domain = [0, 1]) => ({ field, type: "quantitative", scale: { domain }, axis: { title: null, format: ".0%", minExtent: 40, maxExtent: 40 } });
const says = (...fields) => fields.map(([field, title]) => ({ field, type: "nominal", title }));

const views = new Map();

// Draws a chart and says how its rows read as a table; a chart that is not on the page is passed over.
const draw = async (name, { spec, rows, columns, label }) => {
  const figure = document.getElementById(`chart-${name}`);
  if (!figure) return;
  views.get(name)?.finalize();
  const full = {
    width: "container", autosize: { type: "fit-x", contains: "padding" }, config: LOOK, description: label, data: { values: rows }, ...spec,
  };
  views.set(name, await vegaEmbed(figure.querySelector(".canvas"), full, EMBEDDING));
  const details = figure.querySelector("details");
  const fill = () => {
    if (details.open) details.querySelector(".scroll").replaceChildren(tableOf(columns, rows));
  };
  details.ontoggle = fill;
  fill();
};

const tableOf = (columns, rows) => {
  const head = element("tr", {}, ...columns.map(({ title, text }) => element("th", { scope: "col", text: title, className: text ? "" : "number" })));
  const lines = rows.map((row) => element("tr", {}, ...columns.map(({ of, text, breaks }) => element("td", { text: of(row), className: breaks ? "breaks" : text ? "day" : "number" }))));
  return labelled(element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines)));
};

// A table of many columns, of which each cell knows its head: where the page is narrow, a row is a list of them.
const labelled = (table) => {
  const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  if (heads.length < 5) return table;
  table.classList.add("stacks");
  for (const line of table.tBodies[0]?.rows ?? []) {
    [...line.cells].forEach((cell, place) => { cell.dataset.head = heads[place]; });
  }
  return table;
};

// Marks that show the row nearest to the pointer.
const nearest = (tooltip, y) => ({
  params: [{ name: "near", select: { type: "point", encodings: ["x"], nearest: true, on: "pointerover", clear: "pointerout" } }],
  mark: { type: "point", filled: true, size: 70, color: ACCENT },
  encoding: { x: time, y, tooltip, opacity: { condition: { param: "near", empty: false, value: 1 }, value: 0 } },
});

// A share over time with its interval. Where the window saw no review the line is broken; a point alone is drawn as one.
// Of a course with one point in `step` days, the last of each, reviews may lie up to `step - 1` days before their point.
const shareOverTime = ({ rows, days, step = 1, label }) => {
  const longest = (days + step - 1) * DAY;
  const broken = [];
  rows.forEach((row, place) => {
    const before = rows[place - 1];
    if (before && row.time - before.time > longest) broken.push({ time: before.time + DAY, share: null, low: null, high: null });
    const alone = (other) => !other || Math.abs(other.time - row.time) > longest;
    broken.push({ ...row, alone: alone(before) && alone(rows[place + 1]) });
  });
  const seen = { transform: [{ filter: "datum.alone" }] };
  const singles = [
    { ...seen, mark: { type: "rule", color: ACCENT, opacity: 0.5, strokeWidth: 2 }, encoding: { x: time, y: share("low"), y2: { field: "high" } } },
    { ...seen, mark: { type: "point", filled: true, size: 50, color: ACCENT, opacity: 1 }, encoding: { x: time, y: share("share") } },
  ];
  const tooltip = says(["day", `${days} days to`], ["says", "positive"], ["within", "95 % interval"], ["scored", "scored reviews"]);
  const spec = {
    height: 220,
    data: { values: broken },
    layer: [
      { mark: { type: "area", color: ACCENT, opacity: 0.18 }, encoding: { x: time, y: share("low"), y2: { field: "high" } } },
      { mark: { type: "line", color: ACCENT, strokeWidth: 2 }, encoding: { x: time, y: share("share") } },
      ...(broken.some((row) => row.alone) ? singles : []),
      ...(rows.some((row) => row.share !== null) ? [{ transform: [{ filter: "isValid(datum.share)" }], ...nearest(tooltip, share("share")) }] : []),
    ],
  };
  const columns = [
    { title: `${days} days to`, of: (row) => row.day, text: true },
    { title: "Positive", of: (row) => row.says },
    { title: "95 % interval", of: (row) => row.within },
    { title: "Scored reviews", of: (row) => row.scored },
  ];
  return { spec, rows, columns, label };
};

// A row of such a chart; shares in thousandths.
const shareRow = ({ time: at, share: value, low, high, scored }) => ({
  time: at, day: isoDay(at),
  share: value === null ? null : value / 1000, low: low === null ? null : low / 1000, high: high === null ? null : high / 1000,
  says: percent(value), within: interval(low, high), scored: count(scored),
});
