function position(one, index) {
  return one.z ? one.z[index] : one.extent * index / Math.max(one.slices - 1, 1);
}

function sliceAt(one, mm) {
  let nearest = 0;
  for (let i = 1; i < one.slices; i++) {
    if (Math.abs(position(one, i) - mm) < Math.abs(position(one, nearest) - mm)) nearest = i;
  }
  return nearest;
}

// Of a point of the curve, 1 is the score and 2 the position in mm, if there is one.
function valueAt(one, index, which) {
  const next = one.curve.find(([i]) => i >= index);
  const before = one.curve.findLast(([i]) => i <= index);
  if (!next || !before || next.length <= which) return null;
  const share = next[0] > before[0] ? (index - before[0]) / (next[0] - before[0]) : 0;
  return before[which] + share * (next[which] - before[which]);
}

function ticks(low, high, most) {
  const size = 10 ** Math.floor(Math.log10((high - low) / most));
  const step = [1, 2, 5, 10].map(n => n * size).find(s => (high - low) / s <= most);
  const first = Math.ceil(low / step), last = Math.floor(high / step + 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  return Array.from({ length: last - first + 1 }, (_, i) => ((first + i) * step).toFixed(digits));
}

// Every curve has the same scale. Position runs to the right and the score downward, head at the
// top left, as in the body.
function scaled(left, top, pxPerMm, height) {
  const { low, high } = data.scale;
  const inside = score => Math.min(high, Math.max(low, score));
  return {
    x: mm => left + mm * pxPerMm,
    y: score => top + (inside(score) - low) / (high - low) * height
  };
}

function line(one, at) {
  const points = one.curve.map(([i, s]) => at.x(position(one, i)).toFixed(1) + ","
    + at.y(s).toFixed(1));
  return make("polyline", { class: "curve", points: points.join(" ") });
}

// A rectangle from one slice to another, which reaches half a slice beyond both.
function band(one, at, first, last, vertical, ...children) {
  const from = (position(one, first) + position(one, Math.max(first - 1, 0))) / 2;
  const to = (position(one, last) + position(one, Math.min(last + 1, one.slices - 1))) / 2;
  const x = at.x(from), width = Math.max(2, at.x(to) - x);
  return make("rect", { x, width, ...vertical }, ...children);
}

function parts(one, at, vertical) {
  return one.runs.map(([first, last, part]) => band(one, at, first, last,
    { ...vertical, class: "part", fill: colour(part) }, make("title", {}, data.parts[part])));
}

function faults(one, at, vertical) {
  return one.findings.map(f => band(one, at, f.first, f.last, { ...vertical, class: "mark" },
    make("title", {}, f.kind)));
}

function small(one) {
  const width = 140, height = 36, at = scaled(1, 2, (width - 2) / (data.scale.extent || 1), 28);
  return make("svg", { class: "small", width, height, "aria-hidden": "true" },
    ...faults(one, at, { y: 0, height: 32 }), ...parts(one, at, { y: 32, height: 4 }),
    line(one, at));
}

// A line across the curve at a slice or landmark, with its name along it.
function crossing(kind, x, top, bottom, name, title) {
  return make("g", { class: kind }, make("title", {}, title),
    make("line", { x1: x, x2: x, y1: top, y2: bottom }),
    make("text", { transform: `translate(${x + 12} ${bottom - 4}) rotate(-90)` }, name));
}

function partNames(one, at, y) {
  return one.runs.map(([first, last, part]) => {
    const from = at.x(position(one, first)), width = at.x(position(one, last)) - from;
    const name = data.parts[part];
    return width > 7 * name.length ? make("text", { x: from + 3, y }, name) : null;
  });
}

function grid(at, left, right, top, bottom, extent) {
  const scores = ticks(data.scale.low, data.scale.high, 8).map(tick => make("g", { class: "tick" },
    make("line", { x1: left, x2: right, y1: at.y(+tick), y2: at.y(+tick) }),
    make("text", { x: left - 5, y: at.y(+tick) + 4, "text-anchor": "end" }, tick)));
  const most = Math.max(1, Math.floor((at.x(extent) - left) / 60));
  const mm = extent ? ticks(0, extent, most) : ["0"];
  return [...scores, ...mm.map(tick => make("g", { class: "tick" },
    make("line", { x1: at.x(+tick), x2: at.x(+tick), y1: top, y2: bottom + 4 }),
    make("text", { x: at.x(+tick), y: bottom + 17, "text-anchor": "middle" }, tick)))];
}

function large(one) {
  const pxPerMm = Math.min(3, Math.max(.8, 700 / (data.scale.extent || 1)));
  const left = 50, top = 30, bottom = 270, right = left + Math.max(one.extent * pxPerMm, 180);
  const at = scaled(left, top, pxPerMm, bottom - top), whole = { y: top, height: bottom - top };
  const reading = make("text", { x: right, y: 12, "text-anchor": "end", class: "reading" });
  const label = "score against position of series " + one.key;
  const size = { width: right + 20, height: bottom + 38 };
  const picture = make("svg", { class: "large", role: "img", "aria-label": label, ...size },
    ...parts(one, at, whole), ...faults(one, at, whole),
    ...grid(at, left, right, top, bottom, one.extent), ...partNames(one, at, top + 13),
    ...one.landmarks.map(([name, mm, low, high]) => crossing("landmark", at.x(mm), top, bottom,
      name, name + " at " + mm + " mm" + (low === null ? "" : `, ${low} to ${high} mm`))),
    line(one, at),
    ...labelsOf(one).map(mark => crossing("label", at.x(position(one, mark.index)), top, bottom,
      named(mark), "marked: slice " + mark.index)),
    make("text", { x: 2, y: 12 }, "score"), reading,
    make("text", { x: left, y: bottom + 34 }, "mm below the first slice"));
  const slice = event => {
    const x = event.clientX - picture.getBoundingClientRect().left;
    return sliceAt(one, (x - left) / pxPerMm);
  };
  picture.addEventListener("mousemove", event => {
    const i = slice(event), score = valueAt(one, i, 1), mm = valueAt(one, i, 2);
    reading.textContent = `slice ${i}, ${position(one, i).toFixed(0)} mm`
      + (score === null ? "" : `, score ${score.toFixed(2)}`)
      + (mm === null ? "" : `, position ${mm.toFixed(0)} mm`);
  });
  picture.addEventListener("click", event => addLabel(one, slice(event)));
  picture.dataset.curve = one.key;
  return picture;
}
