"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const colours = ["#4c8bd6", "#e08a3c", "#4aa564", "#b06bc4", "#c9b23a", "#d45f7a", "#3fa7a3", "#8a8f98"];
const columns = [["series", "key"], ["slices", "slices", 0], ["mm", "extent", 0], ["r", "r", 4], ["score / mm", "slope", 4], ["parts", "parts"], ["findings", "kinds"], ["curve"]]
  .filter(([, name]) => name !== "parts" || data.parts.length);
const svgNS = "http://www.w3.org/2000/svg";
let sorted = { name: "r", up: true };

function make(tag, attributes, ...children) {
  const node = ["svg", "polyline", "rect", "line", "text", "title"].includes(tag) ? document.createElementNS(svgNS, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children.filter(child => child !== null));
  return node;
}

// Position runs to the right and the score downward, head at the top left, as in the body.
function scales(one, width, height, pad) {
  const zs = one.curve.map(p => p[0]), ss = one.curve.map(p => p[1]);
  const low = Math.min(...ss), high = Math.max(...ss), end = zs[zs.length - 1] || 1;
  return { x: z => pad + z / end * (width - 2 * pad), y: s => pad + (high > low ? (s - low) / (high - low) : .5) * (height - 2 * pad), low, high, end };
}

function line(one, at) { return make("polyline", { class: "curve", points: one.curve.map(([z, s]) => at.x(z).toFixed(1) + "," + at.y(s).toFixed(1)).join(" ") }); }

function marks(one, at, height) {
  return one.findings.map(f => make("rect", { class: "mark", x: at.x(f.z[0]) - 2, y: 0, width: Math.max(4, at.x(f.z[1]) - at.x(f.z[0]) + 4), height }, make("title", {}, f.kind)));
}

function small(one) {
  const at = scales(one, 120, 30, 2);
  return make("svg", { width: 120, height: 30, "aria-hidden": "true" }, ...marks(one, at, 30), line(one, at));
}

function large(one) {
  const width = 560, height = 260, pad = 30, at = scales(one, width, height, pad);
  return make("svg", { width, height, role: "img", "aria-label": "score against position of series " + one.key },
    make("line", { class: "axis", x1: pad, x2: pad, y1: pad / 2, y2: height - pad }), make("line", { class: "axis", x1: pad, x2: width - pad / 2, y1: height - pad, y2: height - pad }),
    ...marks(one, at, height - pad), line(one, at),
    make("text", { x: pad, y: height - 8 }, "0 mm"), make("text", { x: width - pad, y: height - 8, "text-anchor": "end" }, at.end + " mm"),
    make("text", { x: pad + 4, y: 14 }, "score " + at.low.toFixed(1)), make("text", { x: width - pad, y: height - pad - 6, "text-anchor": "end" }, at.high.toFixed(1)));
}

function thumbnails(one, pictures) {
  return make("div", { class: "slices" }, ...pictures.map(([index, source]) => make("figure", {}, make("img", { src: source, alt: "slice " + index + " of series " + one.key }), make("figcaption", {}, "slice " + index))));
}

function detail(one) {
  const list = one.findings.map(f => make("li", {}, make("span", { class: "kind" }, f.kind), " slices " + f.first + " to " + f.last + ", confidence " + f.confidence.toFixed(2) + ". " + f.reason, thumbnails(one, f.pictures)));
  if (one.warnings) list.push(make("li", { class: "soft" }, "Volume: " + one.warnings));
  if (!list.length) list.push(make("li", { class: "soft" }, "Nothing found."));
  return make("tr", {}, make("td", { colspan: columns.length }, make("div", { class: "detail" }, large(one), make("ul", {}, ...list))));
}

function row(one) {
  const key = make("button", { class: "key", "aria-expanded": "false" }, one.key);
  const node = make("tr", {}, ...columns.map(([label, name, digits]) => {
    if (label === "series") return make("td", {}, key);
    if (label === "findings") return make("td", {}, ...one.kinds.map(kind => make("span", { class: "kind" }, kind)));
    if (label === "curve") return make("td", {}, small(one));
    if (digits === undefined) return make("td", {}, one[name]);
    return make("td", { class: "number" }, one[name] === null ? "none" : one[name].toFixed(digits));
  }));
  key.addEventListener("click", () => {
    const open = key.getAttribute("aria-expanded") === "true";
    key.setAttribute("aria-expanded", String(!open));
    if (open) node.nextSibling.remove(); else node.after(detail(one));
  });
  return node;
}

const rows = document.getElementById("rows"), text = document.getElementById("text"), kind = document.getElementById("kind");
const made = new Map(data.series.map(one => [one, row(one)]));

function value(one, name) { return name === "kinds" ? one.kinds.length + one.kinds.join() : one[name]; }

function show() {
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = data.series.filter(one => (!kind.value || (kind.value === "*" ? one.kinds.length : one.kinds.includes(kind.value)))
    && words.every(word => (one.key + " " + one.parts + " " + one.kinds.join(" ")).toLowerCase().includes(word)));
  chosen.sort((a, b) => {
    const [u, v] = [value(a, sorted.name), value(b, sorted.name)];
    if (u === null || v === null) return (u === null) - (v === null);  // what has no value comes last, either way
    return (u < v ? -1 : u > v ? 1 : 0) * (sorted.up ? 1 : -1);
  });
  rows.querySelectorAll("[aria-expanded=true]").forEach(key => key.click());
  rows.replaceChildren(...chosen.map(one => made.get(one)));
  document.getElementById("count").textContent = chosen.length + " of " + data.series.length + " series";
  document.querySelectorAll("th").forEach((th, i) => columns[i][1] === sorted.name ? th.setAttribute("aria-sort", sorted.up ? "ascending" : "descending") : th.removeAttribute("aria-sort"));
}

for (const [label, name, digits] of columns) {
  const head = make("th", { scope: "col", class: digits === undefined ? "" : "number" }, name ? make("button", {}, label) : make("button", { disabled: "" }, label));
  if (name) head.firstChild.addEventListener("click", () => { sorted = { name, up: sorted.name === name ? !sorted.up : true }; show(); });
  document.getElementById("heads").append(head);
}
text.addEventListener("input", show);
kind.addEventListener("change", show);
document.addEventListener("keydown", event => {
  if (event.key === "/" && event.target !== text) { event.preventDefault(); text.focus(); }
  if (!event.target.classList || !event.target.classList.contains("key")) return;
  const keys = [...rows.querySelectorAll(".key")], at = keys.indexOf(event.target);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: keys.length - 1 }[event.key];
  if (to !== undefined && keys[to]) { event.preventDefault(); keys[to].focus(); }
});
show();

{
  const { counts, low, high } = data.histogram, bins = counts[0].length, width = 900, height = 180;
  const highest = Math.max(...counts[0].map((_, i) => counts.reduce((sum, c) => sum + c[i], 0)), 1);
  const picture = make("svg", { width, height: height + 20, role: "img", "aria-label": "histogram of slices over scores" + (data.parts.length ? " by part" : "") });
  const below = Array(bins).fill(0);
  counts.forEach((part, p) => part.forEach((n, i) => {
    below[i] += n;
    if (n) picture.append(make("rect", { x: i * width / bins, width: width / bins - 1, y: height * (1 - below[i] / highest), height: height * n / highest, fill: colours[p % colours.length] }, make("title", {}, (data.parts[p] || "slices") + ": " + n)));
  }));
  picture.append(make("text", { x: 0, y: height + 15 }, String(low)), make("text", { x: width, y: height + 15, "text-anchor": "end" }, String(high)));
  document.getElementById("histogram").append(picture);
  data.parts.forEach((part, p) => document.getElementById("legend").append(make("span", {}, make("i", { style: "background:" + colours[p % colours.length] }), part)));
}
