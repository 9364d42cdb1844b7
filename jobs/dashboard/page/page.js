// The page: its colours, which part of it shows, and what fills it.

const TITLE = document.title;

const startTheme = () => {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => {
    try {
      return localStorage.getItem("sentiment-theme");
    } catch {
      return null; // some browsers keep nothing for files
    }
  };
  const apply = (theme) => {
    if (theme) root.dataset.theme = theme;
    const dark = (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
    button.textContent = dark ? "Light colours" : "Dark colours";
    button.onclick = () => {
      apply(dark ? "light" : "dark");
      try {
        localStorage.setItem("sentiment-theme", root.dataset.theme);
      } catch {
        // the choice then holds for this visit
      }
    };
  };
  system.addEventListener("change", () => apply());
  apply(remembered());
  button.hidden = false;
};

const decoded = (hash) => {
  try {
    return decodeURIComponent(hash);
  } catch {
    return hash; // written by hand, with a lone percent sign
  }
};

const keyOf = (name) => (name === null ? WITHOUT_NAME : `#product=${name}`);

const openProduct = async (data, place) => {
  const name = await showProduct(place, data);
  document.title = `${name ?? "without a name"} \u00b7 ${TITLE}`;
  scrollTo(0, 0);
  document.getElementById("product-title").focus({ preventScroll: true });
};

// The hash of the product that is shown; empty where the rest of the page is.
let opened = "";

const closeProduct = (hash) => {
  document.getElementById("product").replaceChildren();
  document.title = TITLE;
  dispatchEvent(new Event("resize")); // the window may have changed while the charts were hidden
  document.getElementById(hash.slice(1))?.scrollIntoView();
  // Back in the list, the keyboard goes on where it left; to focus it from elsewhere would scroll away from there.
  if (hash !== "" && hash !== "#products") return;
  [...document.querySelectorAll("#product-table a")].find((link) => decoded(link.hash) === opened)?.focus();
};

// `#product=NAME` shows one product, `#main` (the skip link) what is shown already, everything else the rest of the page.
const route = async (data, places) => {
  const hash = decoded(location.hash);
  if (hash === "#main") return;
  const one = hash.startsWith("#product=") || hash === WITHOUT_NAME;
  document.getElementById("all").hidden = one;
  document.getElementById("product").hidden = !one;
  if (!one) {
    if (opened) closeProduct(hash);
    opened = "";
    return;
  }
  opened = hash;
  if (places.has(hash)) await openProduct(data, places.get(hash));
  else {
    const back = element("a", { className: "back", href: "#products", text: "All products" });
    document.getElementById("product").replaceChildren(element("p", {}, back), element("p", { className: "nothing", text: "There is no product of this name." }));
  }
};

const start = async () => {
  startTheme();
  document.querySelectorAll("main table:not(#product-table)").forEach(labelled);
  const data = await readData();
  if (data.products) {
    const rows = rowsOf(data.products.totals).map((row, place) => ({ ...row, place, searched: (row.name ?? "without a name").toLowerCase() }));
    startProducts(rows);
    const places = new Map(rows.map((row) => [keyOf(row.name), row.place]));
    addEventListener("hashchange", () => route(data, places));
    await route(data, places);
  }
  await drawFigures(data.figures);
  document.documentElement.dataset.ready = "yes";
};

start().catch((fault) => {
  const note = element("p", { className: "nothing", text: `The charts and the product table cannot be shown (${fault}). They need a browser of 2024 or newer.` });
  document.getElementById("main").prepend(note);
  throw fault;
});
