/** Which modalities speak, how far each is trusted, and switches to ask what would be without one. */

import { byId, element, percent, spoken } from "./elements.js";

/**
 * Draw the list.
 *
 * @param {object[]} modalities of the bundle
 * @param {object} uses of the answer, by modality
 * @param {{off: Set<string>, switchable: (name: string) => boolean, onSwitch: (name: string, on: boolean) => void}} state
 */
export function drawModalities(modalities, uses, { off, switchable, onSwitch }) {
  const list = byId("modalities");
  const held = list.contains(document.activeElement) ? document.activeElement.name : null;
  const asked = modalities.filter((one) => one.query !== false);
  list.replaceChildren(
    ...asked.map((one, index) => {
      const id = `use-${index}`;
      const input = element("input", { type: "checkbox", role: "switch", name: one.name, "aria-describedby": id });
      const use = uses?.[one.name];
      input.checked = !off.has(one.name) && Boolean(use?.used);
      input.disabled = !off.has(one.name) && !(use?.used && switchable(one.name));
      input.addEventListener("change", () => onSwitch(one.name, input.checked));
      const [said, warning] = told(use, off.has(one.name));
      const words = element("span", { className: warning ? "warning" : "hint", id }, said);
      return element("li", {}, element("label", {}, input, element("b", {}, one.title ?? spoken(one.name))), words);
    }),
  );
  byId("modalities-section").hidden = !uses;
  if (held) list.querySelector(`[name="${CSS.escape(held)}"]`)?.focus();
}

/** What one modality does, and whether that is a warning. */
function told(use, off) {
  if (off) return ["switched off", false];
  if (use?.problem) return [`not readable: ${use.problem}`, true];
  if (!use?.used) return ["not given", false];
  const trust = use.gate === null || use.gate === undefined ? "used" : `used, trusted ${percent(use.gate)}`;
  if (!use.out_of_distribution) return [trust, false];
  const far = `distance ${use.distance?.toFixed(1)}, ordinary up to ${use.limit?.toFixed(1)}`;
  return [`${trust}; unlike the studies that the model was trained on (${far})`, true];
}
