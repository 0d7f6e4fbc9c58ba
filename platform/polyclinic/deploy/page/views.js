/** What is in the files: each kind of view in a card of its own, and relevance drawn over it. */

import { byId, element, spoken } from "./elements.js";
import { drawPicture } from "./picture.js";
import { drawRows } from "./rows.js";
import { drawTraces } from "./traces.js";
import { drawWords } from "./words.js";

/** Each returns what to show, one sentence on where relevance lies, and perhaps more for the caption. */
const KINDS = { picture: drawPicture, traces: drawTraces, rows: drawRows, words: drawWords };

/**
 * Draw all cards.
 *
 * @param {object} views by modality, as the service told them
 * @param {{titles: object, relevance: object|null, off: Set<string>, silent: Set<string>}} state
 */
export function drawViews(views, { titles, relevance, off, silent }) {
  const cards = Object.entries(views).map(([name, view]) => {
    const drawing = KINDS[view.kind];
    const [shown, where, more] = drawing ? drawing(view, relevance?.[name] ?? null) : [null, ""];
    const said = off.has(name) ? "switched off" : silent.has(name) ? "shown, but it does not speak" : "";
    const title = titles[name] ?? spoken(name);
    return element(
      "figure",
      { className: `card ${view.kind}${off.has(name) ? " off" : ""}`, "data-modality": name },
      element("h3", {}, title, said && element("small", {}, ` ${said}`)),
      shown ?? element("p", { className: "hint" }, "This page cannot show it."),
      where ? element("p", { className: "where" }, where) : null,
      element("figcaption", {}, `${view.caption}${more ?? ""}`),
    );
  });
  byId("views").replaceChildren(...arranged(cards, silent));
  byId("empty").hidden = cards.length > 0;
}

/** Two small cards side by side ahead of the wide ones, so that no half of a line stays empty; what is silent last. */
function arranged(cards, silent) {
  const wide = cards.filter((card) => card.classList.contains("traces"));
  const last = (card) => Number(silent.has(card.dataset.modality));
  const small = cards.filter((card) => !wide.includes(card)).sort((one, other) => last(one) - last(other));
  return [...small.slice(0, 2), ...wide, ...small.slice(2)];
}
