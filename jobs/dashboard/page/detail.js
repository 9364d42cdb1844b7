// One product: its totals, its course, and the words and pairs that move it.

const fact = (title, value, small) => element(
  "div", {}, element("dt", { text: title }), element("dd", { text: value }, ...(small ? [" ", element("small", { text: small })] : [])),
);

const labelLegend = (row) => element(
  "p", { className: "legend" }, "Labels of the texts:",
  ...LABELS.map((name) => element(
    "span", {},
    drawn("svg", { width: 10, height: 10, "aria-hidden": "true" }, drawn("rect", { class: name, width: 10, height: 10 })),
    `${name} ${percent((1000 * row[name]) / row.scored)} `, element("small", { text: `(${count(row[name])})` }),
  )),
);

const courseOf = (course, place, window, firstDay) => rowsOf(without(course, "start"), course.start[place], course.start[place + 1])
  .map((row) => shareRow({
    time: firstDay + row.day * DAY, scored: row[`scored_${window}`],
    share: row[`share_${window}`], low: row[`low_${window}`], high: row[`high_${window}`],
  }));

const drawCourse = async (rows, { name, days, step }) => {
  const last = rows.at(-1);
  document.querySelector("#chart-course figcaption").textContent = `Estimated share of positive reviews, ${days} days that end on each day, with its 95 % interval`;
  const label = `Estimated share of positive reviews of ${name ?? "reviews without a product"}; in the ${days} days to ${last.day} ${last.says}, 95 % interval ${last.within}.`;
  await draw("course", shareOverTime({ rows, days, step, label }));
};

// A contribution as a bar with its interval; the hollow mark is the month before.
const effectMark = ({ sum, low, high, sum_before: before }, most, colour) => {
  const at = (value) => 2 + (Math.max(0, Math.abs(value)) / most) * 86;
  const svg = drawn("svg", { width: 92, height: 16, "aria-hidden": "true" });
  svg.append(drawn("rect", { x: 2, y: 4, width: Math.max(1, at(sum) - 2), height: 8, fill: colour, opacity: 0.75 }));
  if (low !== null) {
    const [from, to] = sum > 0 ? [Math.max(0, low), high] : [Math.max(0, -high), -low];
    svg.append(drawn("line", { x1: at(from), x2: at(to), y1: 8, y2: 8, stroke: INK, "stroke-width": 1.5 }));
  }
  if (before !== null && Math.sign(before) === Math.sign(sum)) {
    svg.append(drawn("rect", { x: Math.min(87, at(before)) - 1.5, y: 1.5, width: 4, height: 13, fill: "var(--surface)", stroke: QUIET }));
  }
  return svg;
};

const driverTable = (rows, { title, colour, most, terms }) => {
  if (!rows.length) return element("div", {}, element("h4", { text: title }), element("p", { className: "nothing", text: "No word or pair." }));
  const head = ["Term", "Effect", "Sum", "In reviews"];
  const lines = rows.map((row) => element(
    "tr", {},
    element("th", { scope: "row" }, element("bdi", { text: terms[row.term] })),
    element("td", { className: "effect wide" }, effectMark(row, most, colour)),
    withInterval(signed(row.sum / 100, 1), row.low === null ? NONE : `${signed(row.low / 100, 1)} to ${signed(row.high / 100, 1)}`),
    withInterval(percent(row.share), `was ${percent(row.share_before)}`),
  ));
  const heads = head.map((text, place) => element("th", { scope: "col", text, className: ["", "effect wide", "number", "number"][place] }));
  return element(
    "div", {},
    element("h4", { text: title }),
    element(
      "div", { className: "scroll", tabindex: 0, role: "region", "aria-label": `${title}: terms` },
      element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...lines)),
    ),
  );
};

const showDrivers = (place, drivers) => {
  const target = document.getElementById("drivers");
  if (!drivers) {
    target.append(element("p", {
      className: "nothing",
      text: "These marts hold no drivers. Score with --drivers 5, then summarize again, to see the words that lift and lower a product.",
    }));
    return;
  }
  const rows = rowsOf(without(drivers, "start", "terms"), drivers.start[place], drivers.start[place + 1]);
  if (!rows.length) {
    target.append(element("p", { className: "nothing", text: "No word of this product's reviews stands out." }));
    return;
  }
  const { month } = rows[0];
  const tables = element("div", { className: "pair" });
  const fill = (pair) => {
    const chosen = rows.filter((row) => row.pair === pair);
    const most = Math.max(...chosen.flatMap((row) => [row.low, row.high, row.sum].map(Math.abs)), 1);
    const shared = { most, terms: drivers.terms };
    tables.replaceChildren(
      driverTable(chosen.filter((row) => row.sum < 0).reverse(), { ...shared, title: "Lower it", colour: "var(--down)" }),
      driverTable(chosen.filter((row) => row.sum > 0), { ...shared, title: "Lift it", colour: "var(--up)" }),
    );
  };
  const choice = element("fieldset", { className: "choice" }, element("legend", { text: "Terms" }));
  ["words", "pairs"].forEach((text, pair) => {
    const input = element("input", { type: "radio", name: "terms", value: text });
    input.checked = pair === 0;
    input.addEventListener("change", () => fill(pair));
    choice.append(element("label", {}, input, ` ${text}`));
  });
  const note = `Of ${monthName(month)}. Sum: what the term adds to the logits of the reviews whose strongest terms it is among, with its 95 % interval; `
    + `the hollow mark is the month before. A single review has no interval. Shares are of the product's scored reviews, was that of ${monthName(month - 1)}; ${NONE}: the term was not among its strongest.`;
  fill(0);
  target.append(choice, tables, element("p", { className: "note", text: note }));
};

const showProduct = async (place, { products, drivers, first_day: first }) => {
  const firstDay = Date.parse(first);
  const row = rowsOf(products.totals, place, place + 1)[0];
  const section = document.getElementById("product");
  section.replaceChildren(document.getElementById("product-template").content.cloneNode(true));
  section.hidden = false;
  section.querySelector("h2").append(named(row.name), ...fewTag(row.scored));
  section.querySelector(".lead").append(
    ...(row.scored
      ? ["An estimated ", element("strong", { text: percent(row.share) }), ` of ${count(row.scored)} scored reviews are positive (95 % interval ${interval(row.low, row.high)}).`]
      : ["None of its reviews has a probability."]),
  );
  if (row.scored) section.querySelector(".labels").append(labelBar(row), labelLegend(row));
  section.querySelector(".note").textContent = row.labelled
    ? `The estimate comes from the probabilities of all texts, corrected by ${count(row.labelled)} known labels of this product and those of the others.`
    : "No label of this product is known: the estimate comes from the probabilities of its texts, and from the labels of other products if some are known.";
  section.querySelector(".facts").append(
    fact("Reviews", count(row.reviews)),
    ...(row.labelled ? [fact("Positive by label", percent(row.by_label), `of ${count(row.labelled)}; by their text ${percent(row.by_text)}`)] : []),
    fact("Last 7 days", percent(row.share_7d), row.scored_7d ? `of ${count(row.scored_7d)}` : ""),
    fact("Change in a week", points(row.change), row.change_low === null ? "" : `${pointsInterval(row.change_low, row.change_high)} points`),
    fact("Reviewed", `${isoDay(firstDay + row.first_day * DAY)} to ${isoDay(firstDay + row.last_day * DAY)}`),
  );
  showDrivers(place, drivers);
  const redraw = (window) => drawCourse(
    courseOf(products.course, place, window, firstDay), { name: row.name, days: Number.parseInt(window, 10), step: products.step },
  );
  section.querySelector("#window").addEventListener("change", (event) => redraw(event.target.value));
  await redraw("7d");
  return row.name;
};
