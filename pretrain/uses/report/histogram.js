// Slices by score, stacked by part.
{
  const { counts, low, high } = data.histogram, bins = counts[0].length;
  const width = 900, height = 180;
  const totals = counts[0].map((_, i) => counts.reduce((sum, c) => sum + c[i], 0));
  const highest = Math.max(...totals, 1);
  const label = "histogram of slices over scores" + (data.parts.length ? " by part" : "");
  const picture = make("svg", { width, height: height + 36, role: "img", "aria-label": label });
  const below = Array(bins).fill(0);
  counts.forEach((part, p) => part.forEach((n, i) => {
    below[i] += n;
    const name = data.parts[p] || "slices";
    const at = { x: i * width / bins, width: width / bins - 1 };
    const bar = { y: height * (1 - below[i] / highest), height: height * n / highest };
    const title = make("title", {}, name + ": " + n);
    if (n) picture.append(make("rect", { ...at, ...bar, fill: colour(p) }, title));
  }));
  const inside = ticks(low, high, 12).map(tick => [(tick - low) / (high - low) * width, tick])
    .filter(([x]) => x > 10 && x < width - 10);
  picture.append(
    ...inside.map(([x, tick]) => make("g", { class: "tick" },
      make("line", { x1: x, x2: x, y1: height, y2: height + 4 }),
      make("text", { x, y: height + 17, "text-anchor": "middle" }, tick))),
    make("text", { x: 0, y: height + 33 }, "score"),
    make("text", { x: 2, y: 12 }, "highest bar: " + highest + " slices"));
  document.getElementById("histogram").append(picture);
  data.parts.forEach((part, p) => {
    const box = make("i", { style: "background:" + colour(p) });
    document.getElementById("legend").append(make("span", {}, box, part));
  });
}
