/** Views of kind traces: signals on graph paper, one lead per line, over the relevance of time segments. */

import { colour, element, heat, largest } from "./elements.js";

const MAX_OPACITY = 0.6;
const SMALL_SQUARES = 5;
const LEAD_SQUARES = 3.2; // large squares between leads
const TOP_SQUARES = 2; // large squares above the first lead, for its peaks
const MIN_WIDTH = 720; // in a narrower window the drawing scrolls, so that it remains readable
const drawings = new Set();

/** Return the drawing, a sentence on where relevance is strongest, and an addition to the caption. */
export function drawTraces(view, relevance) {
  const canvas = element("canvas", { role: "img", "aria-label": `${view.names.join(", ")}: ${view.caption}` });
  const box = element(
    "div",
    { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Signals, scroll sideways" },
    canvas,
  );
  drawings.add({ canvas, view, relevance });
  requestAnimationFrame(redraw);
  return [box, strongest(relevance, view), speed(view)];
}

/** Redraw the drawings on the page, and drop those that were removed from it. */
function redraw() {
  for (const drawing of drawings) {
    if (drawing.canvas.isConnected) draw(drawing);
    else drawings.delete(drawing);
  }
}
addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

function draw({ canvas, view, relevance }) {
  const width = Math.max(MIN_WIDTH, canvas.parentElement.clientWidth);
  const paper = view.paper ?? plain(view);
  const seconds = view.values[0].length / view.rate;
  const square = width / Math.ceil(seconds / paper.seconds);
  const apart = LEAD_SQUARES * square;
  const height = Math.ceil((view.names.length * LEAD_SQUARES + TOP_SQUARES + 0.6) * square);
  const scale = Math.min(devicePixelRatio || 1, 2);
  [canvas.width, canvas.height] = [width * scale, height * scale];
  [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const frame = { width, height, square, apart, perSecond: square / paper.seconds, perUnit: square / paper.unit };
  sheet(context, frame);
  if (relevance) bands(context, frame, relevance, view.names.length);
  view.values.forEach((lead, index) => {
    const top = TOP_SQUARES * square + index * apart;
    trace(context, frame, lead, view.rate, top + 0.45 * apart);
    label(context, view.names[index], top);
  });
}

/** Choose squares for signals without a paper: a power of ten in seconds, and the largest amplitude per lead. */
function plain(view) {
  const most = Math.max(...view.values.flat().map((value) => Math.abs(value ?? 0)), 1e-9);
  const seconds = view.values[0].length / view.rate;
  return { seconds: 10 ** Math.round(Math.log10(seconds / 30)), unit: (2 * most) / LEAD_SQUARES };
}

function sheet(context, { width, height, square }) {
  context.fillStyle = colour("paper-sheet");
  context.fillRect(0, 0, width, height);
  for (const [step, name] of [
    [square / SMALL_SQUARES, "paper-fine"],
    [square, "paper-bold"],
  ]) {
    context.strokeStyle = colour(name);
    context.lineWidth = name === "paper-bold" ? 0.9 : 0.5;
    context.beginPath();
    for (let x = 0; x <= width; x += step) context.rect(x, 0, 0, height);
    for (let y = 0; y <= height; y += step) context.rect(0, y, width, 0);
    context.stroke();
  }
}

function bands(context, { height, square, apart, perSecond }, { strength, seconds }, leads) {
  const [begin, end] = seconds;
  strength.forEach((row, index) => {
    const step = ((end - begin) / row.length) * perSecond;
    const [top, high] = strength.length === leads ? [TOP_SQUARES * square + index * apart, apart] : [0, height];
    row.forEach((value, place) => {
      if (!value) return;
      context.fillStyle = heat(value, MAX_OPACITY);
      context.fillRect(begin * perSecond + place * step, top, step, high);
    });
  });
}

function trace(context, { perSecond, perUnit }, lead, rate, middle) {
  context.strokeStyle = colour("trace");
  context.lineWidth = 1.1;
  context.lineJoin = "round";
  context.beginPath();
  let down = false;
  lead.forEach((value, index) => {
    if (value !== null) {
      const [x, y] = [(index / rate) * perSecond, middle - value * perUnit];
      if (down) context.lineTo(x, y);
      else context.moveTo(x, y);
    }
    down = value !== null;
  });
  context.stroke();
}

function label(context, name, top) {
  context.font = "600 12px system-ui, sans-serif";
  context.fillStyle = colour("paper-sheet");
  context.fillRect(3, top + 3, context.measureText(name).width + 6, 16);
  context.fillStyle = colour("ink");
  context.fillText(name, 6, top + 15);
}

/** Format the paper speed and gain; large squares are 5 mm, as on real paper. */
function speed({ paper, unit }) {
  if (!paper) return "";
  return `, ${+(5 / paper.seconds).toFixed(1)} mm/s, ${+(5 / paper.unit).toFixed(1)} mm/${unit}`;
}

function strongest(relevance, view) {
  if (!relevance) return "";
  const all = relevance.strength.flat();
  const [most] = largest(all, 1);
  if (most === undefined) return "No part of it is evidence for this finding.";
  const columns = relevance.strength[0].length;
  const [begin, end] = relevance.seconds;
  const when = begin + (((most % columns) + 0.5) / columns) * (end - begin);
  const lead = relevance.strength.length > 1 ? ` in ${view.names[Math.floor(most / columns)]}` : "";
  return `Strongest around ${when.toFixed(1)} s${lead}.`;
}
