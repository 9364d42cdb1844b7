// The table of products: search, choice, order, pages.

const PAGE_ROWS = 25;
const SHOWN = {
  all: () => true,
  falling: (row) => row.change_high !== null && row.change_high < 0,
  rising: (row) => row.change_low !== null && row.change_low > 0,
  sinking: (row) => row.trend_p !== null && row.trend_p < 50 && row.trend < 0,
  many: (row) => row.scored >= FEW_REVIEWS,
};

const WITHOUT_NAME = "#product-without-name";
const hashOf = (name) => (name === null ? WITHOUT_NAME : `#product=${encodeURIComponent(name)}`);

// A share on a line from 0 to 100 %, with its interval.
const intervalMark = ({ share: value, low, high }) => {
  const at = (thousandth) => 4 + (thousandth / 1000) * 132;
  const svg = drawn("svg", { width: 140, height: 16, "aria-hidden": "true" });
  svg.append(drawn("line", { x1: at(0), x2: at(1000), y1: 8, y2: 8, stroke: "var(--line)", "stroke-width": 1 }));
  if (value !== null) {
    svg.append(drawn("line", { x1: at(low), x2: at(high), y1: 8, y2: 8, stroke: ACCENT, "stroke-width": 4, opacity: 0.35 }));
    svg.append(drawn("circle", { cx: at(value), cy: 8, r: 4, fill: ACCENT }));
  }
  return svg;
};

// How many texts the model labels negative, neutral and positive, as one bar. Of nothing there is none.
const LABELS = ["negative", "neutral", "positive"];
const labelBar = (row) => {
  const total = LABELS.reduce((sum, name) => sum + row[name], 0);
  const svg = drawn("svg", { class: "bar-of-labels", viewBox: "0 0 1000 14", preserveAspectRatio: "none", "aria-hidden": "true" });
  let start = 0;
  for (const name of total ? LABELS : []) {
    const width = (1000 * row[name]) / total;
    svg.append(drawn("rect", { class: name, x: start, y: 0, width, height: 14 }));
    start += width;
  }
  return svg;
};
const labelsSay = (row) => LABELS.map((name) => `${count(row[name])} ${name}`).join(", ");

const fewTag = (scored) => (scored !== null && scored < FEW_REVIEWS ? [" ", element("span", { className: "tag", text: "few reviews" })] : []);

const changeClass = ({ change_low: low, change_high: high }) => {
  if (low === null) return "weak";
  if (high < 0) return "down";
  return low > 0 ? "up" : "weak";
};

const trendClass = ({ trend, trend_p: p }) => {
  if (p === null || p >= 50) return "weak";
  return trend < 0 ? "down" : "up";
};

const withInterval = (value, within, className = "") => {
  const cell = element("td", { className: `number ${className}`, text: value });
  if (within !== NONE) cell.append(element("small", { text: within }));
  return cell;
};

const productRow = (row, withLabels) => element(
  "tr", {},
  element("th", { scope: "row" }, element("a", { href: hashOf(row.name) }, named(row.name)), ...fewTag(row.scored)),
  element("td", { className: "number wide", text: count(row.reviews) }),
  withInterval(percent(row.share), interval(row.low, row.high)),
  element("td", { className: "wide plot" }, intervalMark(row)),
  element("td", { className: "wide labels-cell", title: labelsSay(row) }, labelBar(row), element("span", { className: "hidden", text: labelsSay(row) })),
  ...(withLabels ? [withInterval(percent(row.by_label), row.labelled ? `text ${percent(row.by_text)}` : NONE, "wide")] : []),
  withInterval(percent(row.share_7d), row.scored_7d ? `of ${count(row.scored_7d)}` : NONE, "wide"),
  withInterval(points(row.change), pointsInterval(row.change_low, row.change_high), changeClass(row)),
  withInterval(points(row.trend), row.trend_p === null ? NONE : chance(row.trend_p), `wide ${trendClass(row)}`),
);

// What is not known comes last, whichever way the order goes.
const compare = (name, direction) => (one, other) => {
  const [a, b] = [one[name], other[name]];
  if (a === null || b === null) return (a === null) - (b === null) || one.place - other.place;
  const order = typeof a === "string" ? COLLATOR.compare(a, b) : a - b;
  return direction * order || one.place - other.place;
};
const COLLATOR = new Intl.Collator("en", { numeric: true });

const startProducts = (rows) => {
  const table = document.getElementById("product-table");
  const withLabels = table.querySelector("[data-sort=by_label]") !== null;
  const state = { sort: "reviews", direction: -1, page: 0, rows };
  const search = document.getElementById("search");
  const show = document.getElementById("show");
  const previous = document.getElementById("previous");
  const next = document.getElementById("next");

  const render = () => {
    const first = state.page * PAGE_ROWS;
    const listed = state.rows.slice(first, first + PAGE_ROWS);
    table.tBodies[0].replaceChildren(...listed.map((row) => productRow(row, withLabels)));
    for (const head of table.tHead.rows[0].cells) {
      if (head.querySelector("button")?.dataset.sort === state.sort) head.ariaSort = state.direction > 0 ? "ascending" : "descending";
      else head.removeAttribute("aria-sort");
    }
    document.getElementById("found").textContent = `${count(state.rows.length)} of ${count(rows.length)} products`;
    document.getElementById("page").textContent = listed.length ? `${count(first + 1)} to ${count(first + listed.length)}` : "none";
    previous.disabled = state.page === 0;
    next.disabled = first + PAGE_ROWS >= state.rows.length;
  };
  const refresh = () => {
    const wanted = search.value.trim().toLowerCase();
    const chosen = SHOWN[show.value];
    state.rows = rows.filter((row) => chosen(row) && (!wanted || row.searched.includes(wanted))).sort(compare(state.sort, state.direction));
    state.page = 0;
    render();
  };
  table.tHead.addEventListener("click", (event) => {
    const name = event.target.closest("button")?.dataset.sort;
    if (!name) return;
    state.direction = name === state.sort ? -state.direction : name === "name" ? 1 : -1;
    state.sort = name;
    refresh();
  });
  search.addEventListener("input", refresh);
  show.addEventListener("change", refresh);
  document.getElementById("tools").addEventListener("submit", (event) => event.preventDefault());
  const turn = (pages) => {
    state.page += pages;
    render();
  };
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  refresh();
  document.getElementById("product-list").hidden = false;
};
