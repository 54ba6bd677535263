"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const colours = [
  "#4c8bd6", "#e08a3c", "#4aa564", "#b06bc4", "#c9b23a", "#d45f7a", "#3fa7a3", "#8a8f98"
];
const columns = [
  ["series", "key"], ["slices", "slices", 0], ["mm", "extent", 0], ["r", "r", 4],
  ["score / mm", "slope", 4], ["parts", "parts"], ["findings", "kinds"], ["curve"]
].filter(([, name]) => name !== "parts" || data.parts.length);
const svgNS = "http://www.w3.org/2000/svg";
const svgTags = ["svg", "polyline", "rect", "line", "text", "title"];
let sorted = { name: "r", up: true };

function make(tag, attributes, ...children) {
  const node = svgTags.includes(tag)
    ? document.createElementNS(svgNS, tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children.filter(child => child !== null));
  return node;
}

// Position runs to the right and the score downward, head at the top left, as in the body.
function scales(one, width, height, pad) {
  const zs = one.curve.map(p => p[0]), ss = one.curve.map(p => p[1]);
  const low = Math.min(...ss), high = Math.max(...ss), end = zs[zs.length - 1] || 1;
  return {
    x: z => pad + z / end * (width - 2 * pad),
    y: s => pad + (high > low ? (s - low) / (high - low) : .5) * (height - 2 * pad),
    low, high, end
  };
}

function line(one, at) {
  const points = one.curve.map(([z, s]) => at.x(z).toFixed(1) + "," + at.y(s).toFixed(1));
  return make("polyline", { class: "curve", points: points.join(" ") });
}

function marks(one, at, height) {
  return one.findings.map(f => {
    const x = at.x(f.z[0]) - 2, width = Math.max(4, at.x(f.z[1]) - at.x(f.z[0]) + 4);
    return make("rect", { class: "mark", x, y: 0, width, height }, make("title", {}, f.kind));
  });
}

function small(one) {
  const at = scales(one, 120, 30, 2);
  return make("svg", { width: 120, height: 30, "aria-hidden": "true" },
    ...marks(one, at, 30), line(one, at));
}

function large(one) {
  const width = 560, height = 260, pad = 30, at = scales(one, width, height, pad);
  const right = width - pad, bottom = height - pad, label = "score against position of series ";
  return make("svg", { width, height, role: "img", "aria-label": label + one.key },
    make("line", { class: "axis", x1: pad, x2: pad, y1: pad / 2, y2: bottom }),
    make("line", { class: "axis", x1: pad, x2: width - pad / 2, y1: bottom, y2: bottom }),
    ...marks(one, at, bottom), line(one, at),
    make("text", { x: pad, y: height - 8 }, "0 mm"),
    make("text", { x: right, y: height - 8, "text-anchor": "end" }, at.end + " mm"),
    make("text", { x: pad + 4, y: 14 }, "score " + at.low.toFixed(1)),
    make("text", { x: right, y: bottom - 6, "text-anchor": "end" }, at.high.toFixed(1)));
}

function thumbnails(one, pictures) {
  return make("div", { class: "slices" }, ...pictures.map(([index, source]) => make("figure", {},
    make("img", { src: source, alt: "slice " + index + " of series " + one.key }),
    make("figcaption", {}, "slice " + index))));
}

function finding(one, f) {
  const where = " slices " + f.first + " to " + f.last + ", confidence ";
  return make("li", {}, make("span", { class: "kind" }, f.kind),
    where + f.confidence.toFixed(2) + ". " + f.reason, thumbnails(one, f.pictures));
}

function detail(one) {
  const list = one.findings.map(f => finding(one, f));
  if (one.warnings) list.push(make("li", { class: "soft" }, "Volume: " + one.warnings));
  if (!list.length) list.push(make("li", { class: "soft" }, "Nothing found."));
  const both = make("div", { class: "detail" }, large(one), make("ul", {}, ...list));
  return make("tr", {}, make("td", { colspan: columns.length }, both));
}

function cell(one, key, [label, name, digits]) {
  const kind = text => make("span", { class: "kind" }, text);
  if (label === "series") return make("td", {}, key);
  if (label === "findings") return make("td", {}, ...one.kinds.map(kind));
  if (label === "curve") return make("td", {}, small(one));
  if (digits === undefined) return make("td", {}, one[name]);
  const shown = one[name] === null ? "none" : one[name].toFixed(digits);
  return make("td", { class: "number" }, shown);
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
  const found = (one.key + " " + one.parts + " " + one.kinds.join(" ")).toLowerCase();
  const any = kind.value === "*" ? one.kinds.length : one.kinds.includes(kind.value);
  return (!kind.value || any) && words.every(word => found.includes(word));
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
document.addEventListener("keydown", event => {
  if (event.key === "/" && event.target !== text) { event.preventDefault(); text.focus(); }
  if (!event.target.classList || !event.target.classList.contains("key")) return;
  const keys = [...rows.querySelectorAll(".key")], at = keys.indexOf(event.target);
  const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: keys.length - 1 };
  const to = moves[event.key];
  if (to !== undefined && keys[to]) { event.preventDefault(); keys[to].focus(); }
});
show();

{
  const { counts, low, high } = data.histogram, bins = counts[0].length;
  const width = 900, height = 180;
  const totals = counts[0].map((_, i) => counts.reduce((sum, c) => sum + c[i], 0));
  const highest = Math.max(...totals, 1);
  const label = "histogram of slices over scores" + (data.parts.length ? " by part" : "");
  const picture = make("svg", { width, height: height + 20, role: "img", "aria-label": label });
  const below = Array(bins).fill(0);
  counts.forEach((part, p) => part.forEach((n, i) => {
    below[i] += n;
    const fill = colours[p % colours.length], name = data.parts[p] || "slices";
    const at = { x: i * width / bins, width: width / bins - 1 };
    const bar = { y: height * (1 - below[i] / highest), height: height * n / highest, fill };
    if (n) picture.append(make("rect", { ...at, ...bar }, make("title", {}, name + ": " + n)));
  }));
  picture.append(
    make("text", { x: 0, y: height + 15 }, String(low)),
    make("text", { x: width, y: height + 15, "text-anchor": "end" }, String(high)));
  document.getElementById("histogram").append(picture);
  data.parts.forEach((part, p) => {
    const colour = make("i", { style: "background:" + colours[p % colours.length] });
    document.getElementById("legend").append(make("span", {}, colour, part));
  });
}
