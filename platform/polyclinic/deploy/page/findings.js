/** Findings as sorted bars with intervals; the chosen one shows the contribution of each modality. */

import { contributionTable } from "./contributions.js";
import { byId, element, isGiven, percent, place, signed, displayName } from "./elements.js";

/**
 * Draw the bars, the most likely finding first, those without a probability last.
 *
 * @param {object[]} findings of the answer
 * @param {{aurocs: object, titles: object, before: object|null, chosen: string|null, onChoose: (name: string) => void}} state
 */
export function drawFindings(findings, { aurocs, titles, before, chosen, onChoose }) {
  const list = byId("findings");
  const held = list.contains(document.activeElement) ? document.activeElement.dataset.finding : null;
  const sorted = [...findings].sort((a, b) => rank(b) - rank(a) || a.name.localeCompare(b.name));
  list.replaceChildren(
    ...sorted.map((finding) => {
      const open = finding.name === chosen;
      const row = button(finding, before?.[finding.name], open);
      row.addEventListener("click", () => onChoose(finding.name));
      return element("li", {}, row, open ? details(finding, aurocs[finding.name], titles) : null);
    }),
  );
  byId("scored").hidden = !findings.length;
  byId("before-key").hidden = !before;
  if (held) list.querySelector(`[data-finding="${CSS.escape(held)}"]`)?.focus();
}

/** Summarise all findings for the status line, which screen readers announce. */
export function summary(findings) {
  const present = findings.filter((finding) => finding.decision === "present").map(({ name }) => displayName(name));
  const open = findings.filter((finding) => finding.abstained).length;
  const above = present.length ? `Above their threshold: ${present.join(", ")}.` : "None is above its threshold.";
  return `${findings.length} findings. ${above}${open ? ` No decision on ${open}.` : ""}`;
}

/** Sort key of a finding; a score without a probability ranks below every probability. */
const rank = ({ probability, score }) => (probability === null ? -1 - 1 / (1 + Math.exp(score)) : probability);

function button(finding, before, open) {
  const { name, probability, interval, threshold } = finding;
  const bar = element("span", { className: "bar", "aria-hidden": "true" });
  if (probability !== null) {
    bar.append(place(element("span", { className: `fill ${state(finding)}` }), { width: probability }));
    if (interval) bar.append(place(element("span", { className: "interval" }), span(interval)));
    if (threshold !== null) bar.append(place(element("span", { className: "threshold" }), { left: threshold }));
  }
  if (isGiven(before?.probability)) {
    bar.append(place(element("span", { className: "before" }), { left: before.probability }));
  }
  return element(
    "button",
    { type: "button", className: "finding", "aria-expanded": String(open), "data-finding": name },
    element("span", { className: "label" }, displayName(name)),
    element("span", { className: "number" }, number(finding)),
    element("span", { className: `badge ${state(finding)}` }, decisionText(finding)),
    bar,
    interval ? element("span", { className: "range" }, element("span", { className: "unseen" }, "between "), `${percent(interval[0])} to ${percent(interval[1])}`) : null,
    before ? element("span", { className: "change" }, `${number(before)} with all modalities`) : null,
  );
}

const number = ({ probability, score }) => (isGiven(probability) ? percent(probability) : `score ${signed(score)}`);
const span = ([low, high]) => ({ left: low, width: Math.max(high - low, 0.004) });
const state = ({ abstained, decision }) => (abstained || !decision ? "open" : decision);
const decisionText = ({ abstained, decision }) => (abstained || !decision ? "no decision" : decision);

function details(finding, auroc, titles) {
  const parts = [];
  if (finding.reason) parts.push(element("p", { className: "warning" }, `No decision: ${finding.reason}.`));
  if (finding.threshold !== null) parts.push(element("p", {}, `Threshold ${percent(finding.threshold)}.`));
  const measured = performance(finding.auroc, auroc);
  if (measured) parts.push(element("p", {}, measured));
  return element("div", { className: "details" }, ...parts, contributionTable(finding.contributions, titles, "the log-odds"));
}

/** AUROC of a finding: with these modalities if it is known, else on the test split with all. */
function performance(subsetAuroc, testAuroc) {
  const [where, [value, low, high]] = subsetAuroc
    ? ["validation studies with these modalities", subsetAuroc]
    : ["the test split", testAuroc ? [testAuroc.value, testAuroc.low, testAuroc.high] : []];
  if (!isGiven(value)) return "";
  const range = isGiven(low) && isGiven(high) ? ` (95 %: ${low.toFixed(2)} to ${high.toFixed(2)})` : "";
  return `AUROC ${value.toFixed(2)}${range} on ${where}.`;
}
