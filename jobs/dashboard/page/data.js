// What the page holds: JSON, compressed, in base64.

const DAY = 86_400_000;

const readData = async () => {
  const packed = Uint8Array.from(atob(document.getElementById("data").textContent), (mark) => mark.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(unpacked).json();
};

// One object of columns as a list of rows, from one row to before another.
const rowsOf = (columns, from = 0, to = Object.values(columns)[0].length) => {
  const names = Object.keys(columns);
  const rows = [];
  for (let place = from; place < to; place += 1) {
    rows.push(Object.fromEntries(names.map((name) => [name, columns[name][place]])));
  }
  return rows;
};

const without = (columns, ...names) => Object.fromEntries(Object.entries(columns).filter(([name]) => !names.includes(name)));
