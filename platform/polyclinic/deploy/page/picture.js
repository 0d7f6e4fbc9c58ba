/** Views of kind picture: a grey-scale image, with axes if it has any, and relevance drawn over it. */

import { element, heat, largest, place } from "./elements.js";

const MAX_OPACITY = 0.75;
const NINTH_NAMES = [
  ...["the upper left", "the upper middle", "the upper right"],
  ...["the middle on the left", "the middle", "the middle on the right"],
  ...["the lower left", "the lower middle", "the lower right"],
];

/** Return the picture, and a sentence on where relevance is strongest. */
export function drawPicture(view, relevance) {
  const image = element("img", {
    alt: view.caption,
    src: `data:image/png;base64,${view.png}`,
    width: view.width,
    height: view.height,
  });
  const stage = element("div", { className: "stage" }, image);
  if (relevance) stage.append(overlay(relevance));
  if (!view.across && !view.up) return [stage, relevance ? ninth(relevance.strength) : ""];
  const framed = element("div", { className: "framed" }, stage);
  if (view.up) framed.append(axis(view.up, "up"));
  if (view.across) framed.append(axis(view.across, "across"));
  return [framed, relevance ? time(relevance, view.across) : ""];
}

/** Draw one pixel per patch, which the browser interpolates over the picture. */
function overlay({ strength, across }) {
  const canvas = element("canvas", { className: "heat", "aria-hidden": "true" });
  [canvas.height, canvas.width] = [strength.length, strength[0].length];
  const context = canvas.getContext("2d");
  strength.forEach((row, top) =>
    row.forEach((value, left) => {
      context.fillStyle = heat(value ?? 0, MAX_OPACITY);
      context.fillRect(left, top, 1, 1);
    }),
  );
  return place(canvas, { left: across[0], width: across[1] - across[0] });
}

function axis({ name, unit, ticks }, side) {
  const made = element("div", { className: `axis ${side}`, "aria-hidden": "true" });
  for (const [share, number] of ticks) {
    const tick = element("span", {}, String(number));
    made.append(place(tick, side === "up" ? { bottom: share } : { left: share }));
  }
  made.append(element("b", {}, `${name}, ${unit}`));
  return made;
}

/** Name the ninth of a picture with the largest total relevance. */
function ninth(strength) {
  const sums = Array(9).fill(0);
  strength.forEach((row, top) =>
    row.forEach((value, left) => {
      const third = (index, count) => Math.min(2, Math.floor((3 * (index + 0.5)) / count));
      sums[3 * third(top, strength.length) + third(left, row.length)] += value ?? 0;
    }),
  );
  const [most] = largest(sums, 1);
  if (most === undefined) return "No part of it is evidence for this finding.";
  return `Strongest in ${NINTH_NAMES[most]} of the picture.`;
}

function time({ strength, across }, axisAcross) {
  const columns = strength[0].map((_, index) => strength.reduce((sum, row) => sum + (row[index] ?? 0), 0));
  const [most] = largest(columns, 1);
  if (most === undefined) return "No part of it is evidence for this finding.";
  const share = across[0] + ((most + 0.5) / columns.length) * (across[1] - across[0]);
  const ticks = axisAcross?.ticks ?? [];
  if (ticks.length < 2) return "";
  const [[first, low], [last, high]] = [ticks[0], ticks.at(-1)];
  const number = low + ((share - first) / (last - first)) * (high - low);
  return `Strongest around ${number.toFixed(1)} ${axisAcross.unit}.`;
}
