// The table of series: sorted, filtered, each with its picture and the bands of its parts.
const columns = [
  ["picture"], ["series", "series"], ["stated", "stated"], ["seen", "seen"],
  ["agreement", "agreement"], ["slices", "complete"], ["direction", "direction"],
  ["number", "slices", 0], ["mm", "extent_mm", 0], ["step", "spacing_mm", 2],
  ["kernel", "kernel"], ["faults", "findings"]
];
const bad = { agreement: ["no"], complete: ["missing"], direction: ["reversed"] };
let sorted = null;

function front(one, zoom) {
  const bands = one.bands.map(([part, first, last]) =>
    [part, first, last, colour(data.parts.indexOf(part))]);
  return overview(one.picture, one.series, bands, zoom);
}

function detail(one) {
  const hidden = ["picture", "bands"];
  const facts = Object.entries(one).filter(([name]) => !hidden.includes(name)).flatMap(
    ([name, value]) => [make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, String(value))]);
  const cell = make("td", { colspan: columns.length }, make("div", { class: "detail" },
    front(one, 2), make("dl", { class: "facts" }, ...facts)));
  return make("tr", { class: "opened" }, cell);
}

function verdict(one, name) {
  const value = one[name] ?? "";
  const node = make("span", { class: "verdict" }, value);
  if ((bad[name] || []).includes(value)) node.classList.add("bad");
  if (name === "agreement" && one.confidence) node.append(" " + one.confidence.toFixed(2));
  if (name === "complete" && one.missing) node.append(" " + one.missing);
  return node;
}

function content(one, key, [label, name, digits]) {
  if (label === "picture") return front(one, .5);
  if (name === "series") return key;
  if (name in bad) return verdict(one, name);
  if (digits !== undefined) return one[name] === undefined ? "" : one[name].toFixed(digits);
  return one[name] ?? "";
}

function row(one) {
  const key = make("button", { class: "key", "aria-expanded": "false" }, one.series);
  const node = make("tr", {}, ...columns.map(column => make("td",
    { class: column[2] === undefined ? "" : "number", "data-label": column[0] },
    ...[content(one, key, column)].filter(found => found !== null))));
  key.addEventListener("click", () => {
    const open = key.getAttribute("aria-expanded") === "true";
    key.setAttribute("aria-expanded", String(!open));
    if (open) node.nextSibling.remove(); else node.after(detail(one));
  });
  return node;
}

const rows = document.getElementById("rows"), text = document.getElementById("text");
const filters = [...document.querySelectorAll(".filter")];
const made = new Map();

function matches(one, words) {
  const found = [one.series, one.study, one.stated, one.seen, one.findings, one.warnings, one.path]
    .join(" ").toLowerCase();
  return words.every(word => found.includes(word))
    && filters.every(of => !of.value || one[of.dataset.of] === of.value);
}

function compare(a, b) {
  const [u, v] = [a[sorted.name] ?? null, b[sorted.name] ?? null];
  // What has no value comes last, in either direction.
  if (u === null || v === null) return (u === null) - (v === null);
  return (u < v ? -1 : u > v ? 1 : 0) * (sorted.up ? 1 : -1);
}

function show() {
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = data.series.filter(one => matches(one, words));
  if (sorted) chosen.sort(compare);
  for (const one of chosen) if (!made.has(one)) made.set(one, row(one));
  rows.querySelectorAll("[aria-expanded=true]").forEach(key => key.click());
  rows.replaceChildren(...chosen.map(one => made.get(one)));
  document.getElementById("count").textContent =
    chosen.length + " of " + data.series.length + " series";
  document.querySelectorAll("th").forEach((th, i) => {
    if (!sorted || columns[i][1] !== sorted.name) th.removeAttribute("aria-sort");
    else th.setAttribute("aria-sort", sorted.up ? "ascending" : "descending");
  });
}

for (const [label, name, digits] of columns) {
  const button = make("button", name ? {} : { disabled: "" }, label);
  const head = make("th", { scope: "col", class: digits === undefined ? "" : "number" }, button);
  if (name) button.addEventListener("click", () => {
    sorted = { name, up: sorted && sorted.name === name ? !sorted.up : true };
    show();
  });
  document.getElementById("heads").append(head);
}
for (const of of filters) {
  const counts = new Map();
  for (const one of data.series) {
    const value = one[of.dataset.of];
    if (value) counts.set(value, (counts.get(value) || 0) + 1);
  }
  of.append(make("option", { value: "" }, "all"), ...[...counts].sort().map(([value, n]) =>
    make("option", { value }, `${value} (${n})`)));
  of.addEventListener("change", show);
}
document.getElementById("legend").append(...data.parts.map((part, i) => make("span", {},
  make("i", { style: "background:" + colour(i) }), part)));
text.addEventListener("input", show);
show();
