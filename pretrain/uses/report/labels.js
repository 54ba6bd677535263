// Labels of slices: marked by a click, kept in this browser, saved as labels.csv of `calibrate`.
const KEPT = "ubr-pretrain labels";
const byKey = new Map(data.series.map(one => [one.key, one]));
const field = Object.fromEntries(["labels", "labelled", "what", "landmark", "above", "below", "hint",
  "marks", "landmarks", "parts", "preview", "save"].map(id => [id, document.getElementById(id)]));
let labels = kept();

function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) || [];
  } catch {
    return [];  // a browser that keeps nothing
  }
}

function keep() {
  try {
    localStorage.setItem(KEPT, JSON.stringify(labels));
  } catch { /* a browser that keeps nothing */ }
}

// Those of a series, from superior to inferior. Another page may have marked other series.
function labelsOf(one) {
  return labels.filter(l => l.series === one.key && l.index < one.slices)
    .sort((a, b) => a.index - b.index);
}

function named(mark) {
  return mark.landmark || `${mark.above || "(none)"} | ${mark.below || "(none)"}`;
}

// Each landmark and each border once in a series, and one border at a slice.
function replaces(one, other) {
  if (one.series !== other.series || Boolean(one.landmark) !== Boolean(other.landmark)) return false;
  return one.landmark ? one.landmark === other.landmark
    : one.index === other.index || named(one) === named(other);
}

function addLabel(one, index) {
  const [landmark, above, below] = ["landmark", "above", "below"].map(id => field[id].value.trim());
  const border = field.what.value === "border";
  field.labels.open = true;
  if (border ? !above && !below : !landmark) {
    field.hint.textContent = `Slice ${index} is not marked: give a name first.`;
    (border ? field.below : field.landmark).focus();
    return;
  }
  const mark = border ? { series: one.key, index, above, below }
    : { series: one.key, index, landmark };
  labels = [...labels.filter(other => !replaces(mark, other)), mark];
  field.hint.textContent = `Marked: ${named(mark)} at slice ${index} of ${one.key}.`;
  showLabels();
}

// The stretches of a series between its borders: [first, last, names that its borders give it].
function stretches(one) {
  const borders = labelsOf(one).filter(mark => !mark.landmark);
  return borders.length === 0 ? [] : [null, ...borders].map((upper, i) => {
    const lower = borders[i];
    const names = [...(upper ? [upper.below] : []), ...(lower ? [lower.above] : [])];
    return [upper ? upper.index : 0, lower ? lower.index - 1 : one.slices - 1, names];
  }).filter(([first, last]) => first <= last);
}

function rowsOf(one) {
  const parts = stretches(one).filter(([, , names]) => names[0] && names.every(n => n === names[0]))
    .map(([first, last, [name]]) => [one.key, first === last ? first : `${first}-${last}`, name, ""]);
  const landmarks = labelsOf(one).filter(mark => mark.landmark)
    .map(mark => [one.key, mark.index, "", mark.landmark]);
  return [...parts, ...landmarks];
}

function contradictions(one) {
  return stretches(one).filter(([, , names]) => names.some(n => n !== names[0]))
    .map(([first, last, names]) => `Slices ${first} to ${last} of ${one.key} get no label: one `
      + `border calls them ${names.map(n => n || "nothing").join(", the other ")}.`);
}

function quoted(cell) {
  return /[",\r\n]/.test(cell) ? '"' + String(cell).replaceAll('"', '""') + '"' : cell;
}

function item(one, mark) {
  const remove = make("button", { "aria-label": "remove " + named(mark) }, "remove");
  remove.addEventListener("click", () => {
    labels = labels.filter(other => other !== mark);
    showLabels();
  });
  return make("li", {}, `${one.key} slice ${mark.index}: ${named(mark)} `, remove);
}

function showLabels() {
  keep();
  const marked = data.series.flatMap(one => labelsOf(one).map(mark => [one, mark]));
  const rows = data.series.flatMap(rowsOf);
  const table = [["series", "index", "part", "landmark"], ...rows]
    .map(row => row.map(quoted).join(",") + "\n").join("");
  const wrong = data.series.flatMap(contradictions).map(text => make("li", {}, text));
  field.labelled.textContent = marked.length ? `(${marked.length} marked)` : "";
  field.marks.replaceChildren(...marked.map(([one, mark]) => item(one, mark)), ...wrong);
  field.preview.textContent = table;
  field.save.hidden = !rows.length;
  field.save.href = "data:text/csv;charset=utf-8," + encodeURIComponent(table);
  const names = marked.map(([, mark]) => mark);
  offer(field.landmarks, names.map(mark => mark.landmark));
  offer(field.parts, [...data.parts, ...names.flatMap(mark => [mark.above, mark.below])]);
  document.querySelectorAll("svg[data-curve]").forEach(old => {
    old.replaceWith(large(byKey.get(old.dataset.curve)));
  });
  showMarked(document);
}

function offer(list, names) {
  const known = [...new Set(names.filter(Boolean))];
  list.replaceChildren(...known.map(value => make("option", { value })));
}

function showMarked(node) {
  const places = new Set(labels.map(mark => mark.series + " " + mark.index));
  node.querySelectorAll(".slice").forEach(slice => {
    slice.classList.toggle("marked", places.has(slice.dataset.series + " " + slice.dataset.slice));
  });
}

function showWhat() {
  document.querySelectorAll("[data-what]").forEach(label => {
    label.hidden = label.dataset.what !== field.what.value;
  });
}

document.addEventListener("click", event => {
  const slice = event.target.closest(".slice");
  if (slice) addLabel(byKey.get(slice.dataset.series), Number(slice.dataset.slice));
});
field.what.addEventListener("change", showWhat);
showWhat();
showLabels();
