// A series from the front, head at the top, with bands: title, first and last mm, colour, and at
// which side. Enlarged, their names are on it.
const mmPerPx = 4;

function overview(source, name, bands, zoom) {
  if (!source) return null;
  const node = make("div", { class: "overview" + (zoom > 1 ? " large" : "") });
  const image = make("img", { src: source, loading: "lazy",
    alt: "series " + name + " from the front" });
  image.addEventListener("load", () => {
    image.style.height = image.naturalHeight * zoom + "px";
    image.style.width = image.naturalWidth * zoom + "px";
  }, { once: true });
  node.append(image);
  const y = mm => (mm / mmPerPx * zoom).toFixed(1);
  for (const [title, first, last, fill, side] of bands) {
    const style = `top:${y(first)}px;height:${y(last - first)}px;background:${fill}`;
    node.append(make("div", { class: side ? "band " + side : "band", title, style }));
    if (zoom <= 1) continue;
    node.append(make("div", { class: "edge", style: `top:${y(first)}px` }),
      make("span", { class: "name", style: `top:${y(first)}px` }, title));
  }
  return node;
}
