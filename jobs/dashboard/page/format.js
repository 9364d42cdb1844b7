"use strict";
// How numbers read. Shares come in thousandths; what is not known is a dash.

const NONE = "\u2013";
const MINUS = "\u2212";
const FEW_REVIEWS = 20;

const count = (value) => (value === null ? NONE : value.toLocaleString("en-US"));
const percent = (share) => (share === null ? NONE : `${(share / 10).toFixed(1)} %`);
const interval = (low, high) => (low === null ? NONE : `${(low / 10).toFixed(1)} to ${(high / 10).toFixed(1)} %`);
const signed = (value, digits) => `${value > 0 ? "+" : ""}${value.toFixed(digits)}`.replace("-", MINUS);
const points = (change) => (change === null ? NONE : signed(change / 10, 1));
const pointsInterval = (low, high) => (low === null ? NONE : `${points(low)} to ${points(high)}`);
const chance = (p) => (p < 1 ? "p < 0.001" : `p ${(p / 1000).toFixed(3)}`);
const thousandths = (share) => (share === null ? null : Math.round(share * 1000));
const isoDay = (milliseconds) => new Date(milliseconds).toISOString().slice(0, 10);
const monthName = (months) => `${Math.floor(months / 12)}-${String((months % 12) + 1).padStart(2, "0")}`;

// An element with a text; text is never read as HTML.
const element = (name, { text, className, ...attributes } = {}, ...children) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

const drawn = (name, attributes, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

// A product's name apart from the direction of the text around it.
const named = (name) => (name === null ? element("i", { text: "without a name" }) : element("bdi", { text: name }));
