/** Estimates of levels and quantities with intervals; the chosen one shows the contribution of each modality. */

import { contributionTable } from "./contributions.js";
import { byId, element, isGiven, place, displayName } from "./elements.js";

/**
 * Draw the estimates in the order of the bundle; levels have a bar from the first to the last.
 *
 * @param {object[]} estimates of the answer
 * @param {{errors: object, titles: object, before: object|null, chosen: string|null, onChoose: (name: string) => void}} state
 */
export function drawEstimates(estimates, { errors, titles, before, chosen, onChoose }) {
  const list = byId("estimates");
  const held = list.contains(document.activeElement) ? document.activeElement.dataset.finding : null;
  list.replaceChildren(
    ...estimates.map((estimate) => {
      const open = estimate.name === chosen;
      const row = button(estimate, before?.[estimate.name], open);
      row.addEventListener("click", () => onChoose(estimate.name));
      return element("li", {}, row, open ? details(estimate, errors[estimate.name], titles) : null);
    }),
  );
  byId("estimated").hidden = !estimates.length;
  if (held) list.querySelector(`[data-finding="${CSS.escape(held)}"]`)?.focus();
}

/** Summarise all estimates for the status line. */
export function estimateSummary(estimates) {
  if (!estimates.length) return "";
  const open = estimates.filter((estimate) => estimate.abstained).length;
  return `${estimates.length} ${estimates.length === 1 ? "estimate" : "estimates"}.${open ? ` ${open} not reliable.` : ""}`;
}

function button(estimate, before, open) {
  const { name, levels, abstained, interval, unit } = estimate;
  return element(
    "button",
    { type: "button", className: "finding", "aria-expanded": String(open), "data-finding": name },
    element("span", { className: "label" }, displayName(name)),
    element("span", { className: "number" }, number(estimate)),
    element("span", { className: `badge ${abstained ? "open" : "estimate"}` }, abstained ? "not reliable" : "estimate"),
    levels.length ? bar(estimate) : null,
    interval ? element("span", { className: "range" }, element("span", { className: "unseen" }, "between "), range(levels, interval, unit)) : null,
    before ? element("span", { className: "change" }, `${number(before)} with all modalities`) : null,
  );
}

/** Draw the expected level and its interval, from the first level at the left to the last at the right. */
function bar({ levels, value, interval, abstained }) {
  const share = (level) => level / (levels.length - 1);
  const made = element("span", { className: "bar", "aria-hidden": "true" });
  made.append(place(element("span", { className: `fill ${abstained ? "open" : "present"}` }), { width: share(value) }));
  if (interval) {
    const [low, high] = interval.map(share);
    made.append(place(element("span", { className: "interval" }), { left: low, width: Math.max(high - low, 0.004) }));
  }
  return made;
}

const number = ({ level, value, unit }) => level ?? withUnit(short(value), unit);
const withUnit = (text, unit) => `${text} ${unit}`.trim();

/** Format the ends of an interval: the nearest levels, or numbers with their unit. */
function range(levels, [low, high], unit) {
  if (levels.length) return `${levels[Math.round(low)]} to ${levels[Math.round(high)]}`;
  return withUnit(`${short(low)} to ${short(high)}`, unit);
}

/** Round to three significant digits, more than the precision of an estimate. */
const short = (value) => String(Number(value.toPrecision(3)));

function details(estimate, measured, titles) {
  const unit = estimate.levels.length ? "levels" : estimate.unit;
  const parts = [];
  if (estimate.reason) parts.push(element("p", { className: "warning" }, `Not reliable: ${estimate.reason}.`));
  if (estimate.levels.length) parts.push(element("p", {}, `Levels: ${estimate.levels.join(", ")}.`));
  const error = performance(estimate.error, measured, unit);
  if (error) parts.push(element("p", {}, error));
  const to = `the estimate${unit ? `, in ${unit}` : ""}`;
  return element("div", { className: "details" }, ...parts, contributionTable(estimate.contributions, titles, to));
}

/** Mean absolute error: with these modalities if it is known, else on the test split with all. */
function performance(subsetError, measured, unit) {
  const [where, [value, low, high]] = subsetError
    ? ["validation studies with these modalities", subsetError]
    : ["the test split", measured?.error ? [measured.error.value, measured.error.low, measured.error.high] : []];
  if (!isGiven(value)) return "";
  return `Mean absolute error ${withUnit(short(value), unit)} (95 %: ${short(low)} to ${short(high)}) on ${where}.`;
}
