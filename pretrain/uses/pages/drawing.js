"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const colours = [
  "#4c8bd6", "#e08a3c", "#4aa564", "#b06bc4", "#c9b23a", "#d45f7a", "#3fa7a3", "#8a8f98"
];
const svgNS = "http://www.w3.org/2000/svg";
const svgTags = ["svg", "g", "polyline", "rect", "line", "text", "title"];

function make(tag, attributes, ...children) {
  const node = svgTags.includes(tag)
    ? document.createElementNS(svgNS, tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children.filter(child => child !== null));
  return node;
}

function colour(part) { return colours[part % colours.length]; }
