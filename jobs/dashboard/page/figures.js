// The charts that are about all reviews: trend, volume, scores, reliability, drift, runs.

const drawTrend = async (trend) => {
  const rows = trend.map((row) => shareRow({
    time: Date.parse(row.day), scored: row.scored_7d,
    share: thousandths(row.estimated_share_7d), low: thousandths(row.estimated_share_7d_low), high: thousandths(row.estimated_share_7d_high),
  }));
  const label = `Estimated share of positive reviews of all products from ${rows[0].day} to ${rows.at(-1).day}; in the last 7 days ${rows.at(-1).says}, 95 % interval ${rows.at(-1).within}.`;
  await draw("trend", shareOverTime({ rows, days: 7, label }));
};

const drawVolume = async (trend) => {
  const rows = trend.map((row) => ({ time: Date.parse(row.day), end: Date.parse(row.day) + DAY, day: row.day, reviews: row.reviews, says: count(row.reviews) }));
  const most = rows.reduce((best, row) => (row.reviews > best.reviews ? row : best));
  const spec = {
    height: 70,
    mark: { type: "bar", color: QUIET, opacity: 0.6, binSpacing: 0.5 },
    encoding: {
      x: time, x2: { field: "end" },
      y: { field: "reviews", type: "quantitative", axis: { title: null, format: ",d", tickMinStep: 1, tickCount: 2, minExtent: 40, maxExtent: 40 } },
      y2: { datum: 0 },
      tooltip: says(["day", "day"], ["says", "reviews"]),
    },
  };
  const columns = [{ title: "Day", of: (row) => row.day, text: true }, { title: "Reviews", of: (row) => row.says }];
  await draw("volume", { spec, rows, columns, label: `Reviews a day; most, ${most.says}, on ${most.day}.` });
};

const key = (text, mark) => {
  const svg = drawn("svg", { width: 16, height: 10, "aria-hidden": "true" }, mark);
  return element("span", {}, svg, text);
};
const legend = (name, ...keys) => document.querySelector(`#chart-${name} figcaption`)?.append(element("div", { className: "legend" }, ...keys));
const lineMark = (colour, dash = "none") => drawn("line", { x1: 0, x2: 16, y1: 5, y2: 5, stroke: colour, "stroke-width": 2, "stroke-dasharray": dash });

const drawHistogram = async ({ now, before, validation }) => {
  const width = 1 / now.length;
  const rows = now.map((value, step) => ({
    from: step * width, to: (step + 1) * width, middle: (step + 0.5) * width, now: value, before: before?.[step] ?? null, validation: validation?.[step] ?? null,
    step: `${(step * width).toFixed(2)} to ${((step + 1) * width).toFixed(2)}`,
    nowSays: percent(thousandths(value)), beforeSays: percent(thousandths(before?.[step] ?? null)), validationSays: percent(thousandths(validation?.[step] ?? null)),
  }));
  const x = { field: "from", type: "quantitative", scale: { domain: [0, 1] }, axis: { title: "probability that a review is positive", tickCount: 5, format: ".1f" } };
  const y = (field) => ({ field, type: "quantitative", axis: { title: null, format: ".0%", minExtent: 40, maxExtent: 40 } });
  const tooltip = says(
    ["step", "probability"], ["nowSays", "last 7 days"],
    ...(before ? [["beforeSays", "7 days before"]] : []), ...(validation ? [["validationSays", "validation"]] : []),
  );
  const steps = (field, color, strokeDash) => ({
    mark: { type: "rule", color, strokeWidth: 2, strokeDash },
    encoding: { x, x2: { field: "to" }, y: y(field) },
  });
  const spec = {
    height: 220,
    layer: [
      { mark: { type: "bar", color: ACCENT, opacity: 0.35, binSpacing: 1 }, encoding: { x: { ...x, bin: "binned" }, x2: { field: "to" }, y: y("now"), tooltip } },
      ...(before ? [steps("before", INK, [1, 0])] : []),
      ...(validation ? [steps("validation", QUIET, [3, 2])] : []),
    ],
  };
  const columns = [
    { title: "Probability", of: (row) => row.step, text: true },
    { title: "Last 7 days", of: (row) => row.nowSays },
    ...(before ? [{ title: "7 days before", of: (row) => row.beforeSays }] : []),
    ...(validation ? [{ title: "Validation", of: (row) => row.validationSays }] : []),
  ];
  legend(
    "histogram",
    key("last 7 days", drawn("rect", { width: 16, height: 10, fill: ACCENT, opacity: 0.35 })),
    ...(before ? [key("7 days before", lineMark(INK))] : []),
    ...(validation ? [key("model's validation", lineMark(QUIET, "3 2"))] : []),
  );
  const shown = ["this week", ...(before ? ["the week before"] : []), ...(validation ? ["the model's validation"] : [])].join(", ");
  await draw("histogram", { spec, rows, columns, label: `Share of the scored reviews by probability: ${shown}.` });
};

const drawReliability = async (steps) => {
  const rows = steps.map((row) => ({
    ...row,
    predicted: percent(thousandths(row.mean_probability)), says: percent(thousandths(row.positive_share)),
    within: interval(thousandths(row.low), thousandths(row.high)), reviews: count(row.n),
  }));
  const x = { field: "mean_probability", type: "quantitative", scale: { domain: [0, 1] }, axis: { title: "mean predicted probability", format: ".1f", tickCount: 5 } };
  const spec = {
    height: 220,
    layer: [
      { data: { values: [{ at: 0 }, { at: 1 }] }, mark: { type: "line", color: QUIET, strokeDash: [4, 3] }, encoding: { x: { ...x, field: "at" }, y: share("at") } },
      { mark: { type: "rule", color: ACCENT, strokeWidth: 1.5 }, encoding: { x, y: share("low"), y2: { field: "high" } } },
      {
        mark: { type: "point", filled: true, color: ACCENT, size: 50, opacity: 1 },
        encoding: { x, y: share("positive_share"), tooltip: says(["predicted", "predicted"], ["says", "positive"], ["within", "95 % interval"], ["reviews", "held-out reviews"]) },
      },
    ],
  };
  const columns = [
    { title: "Predicted", of: (row) => row.predicted },
    { title: "Positive", of: (row) => row.says },
    { title: "95 % interval", of: (row) => row.within },
    { title: "Held-out reviews", of: (row) => row.reviews },
  ];
  legend("reliability", key("measured", drawn("circle", { cx: 8, cy: 5, r: 4, fill: ACCENT })), key("perfect", lineMark(QUIET, "4 3")));
  await draw("reliability", { spec, rows, columns, label: "Share of positive reviews against the predicted probability, on held-out reviews." });
};

const drawDrift = async (days, { warn, fail }) => {
  const rows = days.map((row) => ({
    ...row, time: Date.parse(row.day), judged: row.week_level !== "not judged", model: row.model_sha256.slice(0, 12),
    week: row.psi_week?.toFixed(3) ?? NONE, validation: row.psi_validation?.toFixed(3) ?? NONE, reviews: count(row.scored),
  }));
  const y = { field: "psi_week", type: "quantitative", scale: { type: "sqrt", domainMin: 0 }, axis: { title: null, values: [0, warn, fail, 0.5, 1, 2, 4], format: ".2~f", minExtent: 40, maxExtent: 40 } };
  const limit = (at, color) => ({ data: { values: [{ at }] }, mark: { type: "rule", color, strokeDash: [4, 3], strokeWidth: 1.5 }, encoding: { y: { ...y, field: "at" } } });
  const tooltip = says(["day", "day"], ["week", "against the week before"], ["validation", "against validation"], ["reviews", "scored reviews"], ["week_level", "judged"], ["model", "model"]);
  // Marks of no value at all would have no scale.
  const known = (field, layer) => (rows.some((row) => row[field] !== null) ? [layer] : []);
  const spec = {
    height: 180,
    layer: [
      limit(warn, "var(--warn)"),
      limit(fail, "var(--down)"),
      ...known("psi_validation", {
        mark: { type: "line", color: QUIET, strokeWidth: 1, opacity: 0.8 },
        encoding: { x: time, y: { ...y, field: "psi_validation" }, detail: { field: "model" } },
      }),
      ...known("psi_week", {
        mark: { type: "point", size: 45, strokeWidth: 1.5, stroke: ACCENT, opacity: 1 },
        encoding: { x: time, y, fill: { condition: { test: "datum.judged", value: ACCENT }, value: "var(--surface)" }, tooltip },
      }),
    ],
  };
  const columns = [
    { title: "Day", of: (row) => row.day, text: true },
    { title: "Model", of: (row) => row.model, text: true },
    { title: "Against the week before", of: (row) => row.week },
    { title: "Judged", of: (row) => row.week_level, text: true },
    { title: "Against validation", of: (row) => row.validation },
    { title: "Scored reviews", of: (row) => row.reviews },
  ];
  legend(
    "drift",
    key("against the 7 days before", drawn("circle", { cx: 8, cy: 5, r: 4, fill: ACCENT })),
    key("against the model's validation", lineMark(QUIET)),
    key(`warning ${warn}`, lineMark("var(--warn)", "4 3")),
    key(`limit ${fail}`, lineMark("var(--down)", "4 3")),
  );
  const { day } = rows.at(-1);
  const last = rows.filter((row) => row.day === day).map((row) => `${row.week} of model ${row.model}`).join(", ");
  await draw("drift", { spec, rows, columns, label: `Stability index from ${rows[0].day} to ${day}; on the last day ${last}.` });
};

const drawRuns = async (runs) => {
  const rows = runs.map((row, place) => ({ ...row, place, speed: row.reviews_per_second?.toFixed(0) ?? NONE, size: count(row.reviews) }));
  const spec = {
    height: 120,
    mark: { type: "line", color: ACCENT, strokeWidth: 1.5, point: { filled: true, color: ACCENT, size: 25 } },
    encoding: {
      x: { field: "place", type: "quantitative", axis: null },
      y: { field: "reviews_per_second", type: "quantitative", axis: { title: null, format: ",d", minExtent: 40, maxExtent: 40 }, scale: { domainMin: 0 } },
      tooltip: says(["run_id", "run"], ["speed", "reviews/s"], ["size", "reviews"]),
    },
  };
  const columns = [
    { title: "Run", of: (row) => row.run_id, text: true, breaks: true },
    { title: "Date", of: (row) => row.run_date, text: true },
    { title: "Reviews", of: (row) => row.size },
    { title: "Reviews a second", of: (row) => row.speed },
  ];
  await draw("runs", { spec, rows, columns, label: `Reviews a second of ${rows.length} runs, from ${rows[0].run_date} to ${rows.at(-1).run_date}.` });
};

const drawFigures = async ({ trend, histogram, reliability, drift, limits, runs }) => {
  if (trend.length) await drawTrend(trend);
  if (trend.length) await drawVolume(trend);
  if (histogram) await drawHistogram(histogram);
  if (reliability.length) await drawReliability(reliability);
  if (drift.length) await drawDrift(drift, limits);
  if (runs.length > 1) await drawRuns(runs);
};
