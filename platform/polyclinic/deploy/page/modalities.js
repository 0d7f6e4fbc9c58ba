/** Input modalities: their use in the scores, and a switch to score without each. */

import { byId, element, percent, displayName } from "./elements.js";

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
  const inputs = modalities.filter((modality) => modality.query !== false);
  list.replaceChildren(
    ...inputs.map((modality, index) => {
      const id = `use-${index}`;
      const input = element("input", { type: "checkbox", role: "switch", name: modality.name, "aria-describedby": id });
      const use = uses?.[modality.name];
      input.checked = !off.has(modality.name) && Boolean(use?.used);
      input.disabled = !off.has(modality.name) && !(use?.used && switchable(modality.name));
      input.addEventListener("change", () => onSwitch(modality.name, input.checked));
      const [description, warning] = describe(use, off.has(modality.name));
      const words = element("span", { className: warning ? "warning" : "hint", id }, description);
      return element("li", {}, element("label", {}, input, element("b", {}, modality.title ?? displayName(modality.name))), words);
    }),
  );
  byId("modalities-section").hidden = !uses;
  if (held) list.querySelector(`[name="${CSS.escape(held)}"]`)?.focus();
}

/** Return the use of a modality in words, and whether it is a warning. */
function describe(use, off) {
  if (off) return ["switched off", false];
  if (use?.problem) return [`not readable: ${use.problem}`, true];
  if (!use?.used) return ["not provided", false];
  const trust = use.gate === null || use.gate === undefined ? "used" : `used, reliability ${percent(use.gate)}`;
  if (!use.out_of_distribution) return [trust, false];
  const far = `distance ${use.distance?.toFixed(2)}, limit ${use.limit?.toFixed(2)}`;
  return [`${trust}; unlike the studies that the model was trained on (${far})`, true];
}
