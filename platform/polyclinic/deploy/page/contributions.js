/** The contribution of each modality to a score or an estimate. */

import { element, place, signed, displayName } from "./elements.js";

/**
 * Make the table of contributions, the largest first: bars to the right of the centre are positive, to the left negative.
 *
 * @param {object|undefined} contributions by modality
 * @param {object} titles of the modalities
 * @param {string} to what they contribute
 */
export function contributionTable(contributions, titles, to) {
  const shares = Object.entries(contributions ?? {}).sort(([, a], [, b]) => b - a);
  if (!shares.length) return null;
  const most = Math.max(...shares.map(([, value]) => Math.abs(value)), 1e-9);
  const rows = shares.map(([name, value]) => {
    const width = (Math.abs(value) / most) * 0.5;
    const bar = element("span", { className: "share", "aria-hidden": "true" });
    const fill = element("span", { className: value < 0 ? "against" : "for" });
    bar.append(place(fill, { left: value < 0 ? 0.5 - width : 0.5, width }));
    const label = element("th", { scope: "row" }, titles[name] ?? displayName(name));
    return element("tr", {}, label, element("td", {}, bar), element("td", { className: "number" }, signed(value)));
  });
  return element(
    "table",
    {},
    element("caption", {}, `Contribution of each modality to ${to}`),
    element("tbody", {}, ...rows),
  );
}
