// The table of series, and what it shows of one.
const columns = [
  ["series", "key"], ["slice"], ["slices", "slices", 0], ["mm", "extent", 0], ["r", "r", 4],
  ["score / mm", "slope", 4], ["parts", "parts"], ["findings", "kinds"], ["curve"]
].filter(([label]) => (label !== "parts" || data.parts.length)
  && (label !== "slice" || data.pictures));
let sorted = { name: "r", up: true };

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
  const lines = { series: "", pieces: "Positions are of a line for each sound stretch.",
    slices: "Positions are of each slice by itself: no line fits the series." }[one.context];
  if (lines) list.push(make("li", { class: "soft" }, lines));
  if (one.warnings) list.push(make("li", { class: "soft" }, "Volume: " + one.warnings));
  const curve = make("div", {}, make("div", { class: "scroll" }, large(one)), exact(one));
  const cell = make("td", { colspan: columns.length },
    make("div", { class: "detail" }, curve, make("ul", {}, ...list)), slices(one, one.pictures));
  const node = make("tr", { class: "opened" }, cell);
  showMarked(node);
  return node;
}

function picture(one) {
  if (!one.pictures.length) return null;
  const [, src] = one.pictures[Math.floor(one.pictures.length / 2)];
  return make("img", { class: "glance", src, alt: "", loading: "lazy" });
}

function content(one, key, [label, name, digits]) {
  if (label === "series") return [key, make("span", { class: "path" }, one.path)];
  if (label === "slice") return [picture(one)];
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
const made = new Map(data.series.map(one => [one, row(one)]));

function value(one, name) {
  return name === "kinds" ? one.kinds.length + one.kinds.join() : one[name];
}

function matches(one, words) {
  const path = document.body.classList.contains("paths") ? one.path : "";
  const found = [one.key, one.parts, ...one.kinds, path].join(" ").toLowerCase();
  const chosen = { "": true, "*": one.kinds.length > 0, r: one.suspect };
  return (chosen[kind.value] ?? one.kinds.includes(kind.value)) && words.every(word => found.includes(word));
}

function compare(a, b) {
  const [u, v] = [value(a, sorted.name), value(b, sorted.name)];
  // What has no value comes last, in either direction.
  if (u === null || v === null) return (u === null) - (v === null);
  return (u < v ? -1 : u > v ? 1 : 0) * (sorted.up ? 1 : -1);
}

function show() {
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = data.series.filter(one => matches(one, words)).sort(compare);
  const count = chosen.length + " of " + data.series.length + " series";
  rows.querySelectorAll("[aria-expanded=true]").forEach(key => key.click());
  rows.replaceChildren(...chosen.map(one => made.get(one)));
  document.getElementById("count").textContent = count;
  document.querySelectorAll("th").forEach((th, i) => {
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

