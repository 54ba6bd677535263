// The table of series, and what it shows of one.
const columns = [
  ["series", "key"], ["slices", "slices", 0], ["mm", "extent", 0], ["r", "r", 4],
  ["score / mm", "slope", 4], ["parts", "parts"], ["findings", "kinds"], ["front"], ["images"],
  ["curve"]
].filter(([label]) => (label !== "parts" || data.parts.length)
  && (label !== "images" || data.pictures)
  && (label !== "front" || data.series.some(one => one.front)));
const glances = 3;
let sorted = { name: "kinds", up: true };

function slices(one, pictures) {
  return make("div", { class: "slices" }, ...pictures.map(([index, source]) => make("button",
    { class: "slice", "data-series": one.key, "data-slice": index },
    make("img", { src: source, alt: "slice " + index + " of series " + one.key }),
    make("span", {}, "slice " + index))));
}

function finding(one, f) {
  const where = " slices " + f.first + " to " + f.last + ", confidence ";
  return make("li", {}, make("span", { class: "kind" }, f.kind),
    where + f.confidence.toFixed(2) + ". " + f.reason, slices(one, f.pictures));
}

function verdict(one) {
  if (one.r === null) {
    return make("li", {}, "It has no r, which needs three slices and more than one score.");
  }
  if (!one.suspect) {
    return make("li", {}, `r ${one.r.toFixed(4)} reaches the paper's ${data.paperR}.`);
  }
  return make("li", { class: "suspect" },
    `r ${one.r.toFixed(4)} is below ${data.paperR}, where the paper suspects a fault. The series `
    + "may be faulty, or show what the weights have not learned.");
}

// A slice can also be marked without a pointer.
function exact(one) {
  const input = make("input", { type: "number", min: 0, max: one.slices - 1, required: "" });
  const form = make("form", { class: "controls" },
    make("label", {}, `slice, 0 to ${one.slices - 1}`, input), make("button", {}, "mark it"));
  form.addEventListener("submit", event => {
    event.preventDefault();
    addLabel(one, Number(input.value));
  });
  return form;
}

function detail(one) {
  const list = [verdict(one), ...one.findings.map(f => finding(one, f))];
  if (!one.findings.length) {
    list.push(make("li", { class: "soft" }, one.suspect || one.r === null
      ? "No finding says which slices are wrong." : "No fault was found in the curve."));
  }
  const lines = { series: "", pieces: "Positions are of a line for each intact stretch.",
    slices: "Positions are of each slice by itself: no line fits the series." }[one.context];
  if (lines) list.push(make("li", { class: "soft" }, lines));
  if (one.warnings) list.push(make("li", { class: "soft" }, "Volume: " + one.warnings));
  const curve = make("div", {}, make("div", { class: "scroll" }, large(one)), exact(one));
  const picture = front(one, 2);
  const cell = make("td", { colspan: columns.length },
    make("div", { class: "detail" }, picture, curve, make("ul", {}, ...list)),
    slices(one, one.pictures));
  const node = make("tr", { class: "opened" }, cell);
  showMarked(node);
  return node;
}

// From the front, with parts at its left and findings at its right.
function front(one, zoom) {
  const mm = (first, last) => [position(one, first), position(one, Math.min(last + 1, one.slices - 1))];
  return overview(one.front, one.key, [
    ...one.runs.map(([first, last, part]) => [data.parts[part], ...mm(first, last), colour(part)]),
    ...one.findings.map(f => [f.kind, ...mm(f.first, f.last), "var(--fault)", "right"])
  ], zoom);
}

function thumbs(one) {
  const at = Array.from({ length: glances }, (_, i) => (i + .5) / glances * one.pictures.length);
  const shown = [...new Set(at.map(Math.floor))].filter(i => i < one.pictures.length);
  return make("div", { class: "thumbs" }, ...shown.map(i =>
    make("img", { class: "glance", src: one.pictures[i][1], alt: "", loading: "lazy" })));
}

function content(one, key, [label, name, digits]) {
  if (label === "series") return [key, make("span", { class: "path" }, one.path)];
  if (label === "front") return [front(one, .5)];
  if (label === "images") return [thumbs(one)];
  if (label === "findings") return one.kinds.map(kind => make("span", { class: "kind" }, kind));
  if (label === "curve") return [small(one)];
  if (digits === undefined) return [one[name]];
  const text = one[name] === null ? "none" : one[name].toFixed(digits);
  const low = label === "r" && one.suspect;
  return [text, low ? make("span", { class: "kind" }, "below " + data.paperR) : null];
}

function cell(one, key, column) {
  const number = column[2] === undefined ? "" : "number";
  return make("td", { class: number, "data-label": column[0] }, ...content(one, key, column));
}

function row(one) {
  const key = make("button", { class: "key", "aria-expanded": "false" }, one.key);
  const node = make("tr", {}, ...columns.map(column => cell(one, key, column)));
  key.addEventListener("click", () => {
    const open = key.getAttribute("aria-expanded") === "true";
    key.setAttribute("aria-expanded", String(!open));
    if (open) node.nextSibling.remove(); else node.after(detail(one));
  });
  return node;
}

const rows = document.getElementById("rows");
const text = document.getElementById("text"), kind = document.getElementById("kind");
const made = new Map();

function matches(one, words) {
  const path = document.body.classList.contains("paths") ? one.path : "";
  const found = [one.key, one.parts, ...one.kinds, path].join(" ").toLowerCase();
  const chosen = { "": true, "*": one.kinds.length > 0, r: one.suspect };
  return (chosen[kind.value] ?? one.kinds.includes(kind.value)) && words.every(word => found.includes(word));
}

function by(name, up) {
  return (a, b) => {
    const [u, v] = [a[name], b[name]];
    // What has no value comes last, in either direction.
    if (u === null || v === null) return (u === null) - (v === null);
    return (u < v ? -1 : u > v ? 1 : 0) * (up ? 1 : -1);
  };
}

function rowOf(one) {
  if (!made.has(one)) made.set(one, row(one));
  return made.get(one);
}

// The rows of each finding under its name; of a series with several the first counts.
function grouped(series) {
  const below = "no finding, r below " + data.paperR, sound = "nothing found";
  const groups = new Map([...data.kinds, below, sound].map(name => [name, []]));
  for (const one of series.sort(by("r", true))) {
    const kind = data.kinds.find(kind => one.kinds.includes(kind));
    groups.get(kind ?? (one.suspect ? below : sound)).push(one);
  }
  const found = [...groups].filter(([, of]) => of.length);
  return (sorted.up ? found : found.reverse()).flatMap(([name, of]) => [
    make("tr", { class: "group" }, make("th", { colspan: columns.length, scope: "rowgroup" },
      `${name}: ${of.length} series`)), ...of.map(rowOf)]);
}

function show() {
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = data.series.filter(one => matches(one, words));
  const count = chosen.length + " of " + data.series.length + " series";
  rows.querySelectorAll("[aria-expanded=true]").forEach(key => key.click());
  rows.replaceChildren(...(sorted.name === "kinds" ? grouped(chosen)
    : chosen.sort(by(sorted.name, sorted.up)).map(rowOf)));
  document.getElementById("count").textContent = count;
  document.querySelectorAll("#heads th").forEach((th, i) => {
    if (columns[i][1] !== sorted.name) th.removeAttribute("aria-sort");
    else th.setAttribute("aria-sort", sorted.up ? "ascending" : "descending");
  });
}

for (const [label, name, digits] of columns) {
  const button = make("button", name ? {} : { disabled: "" }, label);
  const number = digits === undefined ? "" : "number";
  const head = make("th", { scope: "col", class: number }, button);
  if (name) button.addEventListener("click", () => {
    sorted = { name, up: sorted.name === name ? !sorted.up : true };
    show();
  });
  document.getElementById("heads").append(head);
}
text.addEventListener("input", show);
kind.addEventListener("change", show);
document.getElementById("paths")?.addEventListener("change", event => {
  document.body.classList.toggle("paths", event.target.checked);
  show();
});
document.addEventListener("keydown", event => {
  if (event.key === "/" && event.target !== text) { event.preventDefault(); text.focus(); }
  if (!event.target.classList || !event.target.classList.contains("key")) return;
  const keys = [...rows.querySelectorAll(".key")], at = keys.indexOf(event.target);
  const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: keys.length - 1 };
  const to = moves[event.key];
  if (to !== undefined && keys[to]) { event.preventDefault(); keys[to].focus(); }
});
show();

