/** Views of kind rows: a table of values with their reference ranges. */

import { element, heat, largest, place } from "./elements.js";

const MAX_OPACITY = 0.55;
const MARGIN = 0.25; // share of the bar on each side of the reference range

/** Return the table, and a sentence on the rows with the largest relevance. */
export function drawRows(view, relevance) {
  const rows = view.entries.map((entry, index) => row(entry, relevance?.strength[index] ?? 0));
  const heads = ["", "Value", "Range", ""].map((text, index) =>
    element("th", { scope: "col", className: index === 1 ? "number" : "" }, text),
  );
  const table = element(
    "table",
    { className: "values" },
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows),
  );
  const most = relevance ? largest(relevance.strength, 3).map((index) => view.entries[index].name) : [];
  const where = most.length ? `Strongest in ${most.join(", ")}.` : "No value is evidence for this finding.";
  return [element("div", { className: "scroll flat" }, table), relevance ? where : ""];
}

function row(entry, strength) {
  const { name, value, unit, low, high, level } = entry;
  const given = value === null ? level : `${value} ${unit}`.trim();
  const ranged = low !== null && high !== null;
  const side = value === null || !ranged ? "" : value < low ? "low" : value > high ? "high" : "";
  const range = ranged ? `${short(low)} to ${short(high)}` : "";
  const made = element(
    "tr",
    { className: [given === null && "missing", strength > 0 && "lit"].filter(Boolean).join(" ") },
    element("th", { scope: "row" }, name),
    element("td", { className: "number" }, given ?? "\u2013", side && element("b", { className: "beyond" }, ` ${side}`)),
    element("td", { className: "range" }, range),
    element("td", { className: "place" }, ranged && value !== null ? bar(value, low, high, side) : ""),
  );
  if (strength > 0) made.style.backgroundColor = heat(strength, MAX_OPACITY);
  return made;
}

/** Round to three significant digits, more than the precision of a reference range. */
const short = (number) => Number(number.toPrecision(3));

/** Draw the reference range in the centre and a dot for the value, at the edge if the value is beyond the bar. */
function bar(value, low, high, side) {
  const share = high > low ? MARGIN + ((value - low) / (high - low)) * (1 - 2 * MARGIN) : 0.5;
  const made = element("span", { className: "within", "aria-hidden": "true" });
  made.append(place(element("span", { className: "normal" }), { left: MARGIN, width: 1 - 2 * MARGIN }));
  made.append(place(element("span", { className: `dot ${side}` }), { left: Math.min(0.98, Math.max(0.02, share)) }));
  return made;
}
