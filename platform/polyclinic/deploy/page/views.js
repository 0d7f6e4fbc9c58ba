/** Views of the files, one card per modality, with relevance drawn over them. */

import { drawCourses } from "./courses.js";
import { byId, element, displayName } from "./elements.js";
import { drawPicture } from "./picture.js";
import { drawRows } from "./rows.js";
import { drawTraces } from "./traces.js";
import { drawWords } from "./words.js";

/** Kinds that take the full width. */
const WIDE = ["traces", "courses"];

/** Each returns an element, a sentence on where relevance is strongest, and optionally an addition to the caption. */
const KINDS = { picture: drawPicture, traces: drawTraces, rows: drawRows, courses: drawCourses, words: drawWords };

/**
 * Draw all cards.
 *
 * @param {object} views by modality, as the service returned them
 * @param {{titles: object, relevance: object|null, off: Set<string>, unused: Set<string>}} state
 */
export function drawViews(views, { titles, relevance, off, unused }) {
  const cards = Object.entries(views).map(([name, view]) => {
    const drawing = KINDS[view.kind];
    const [shown, where, more] = drawing ? drawing(view, relevance?.[name] ?? null) : [null, ""];
    const remark = off.has(name) ? "switched off" : unused.has(name) ? "shown, but not used as input" : "";
    const title = titles[name] ?? displayName(name);
    return element(
      "figure",
      { className: `card ${view.kind}${off.has(name) ? " off" : ""}`, "data-modality": name },
      element("h3", {}, title, remark && element("small", {}, ` ${remark}`)),
      shown ?? element("p", { className: "hint" }, "This page cannot show it."),
      where ? element("p", { className: "where" }, where) : null,
      element("figcaption", {}, `${view.caption}${more ?? ""}`),
    );
  });
  byId("views").replaceChildren(...arranged(cards, unused));
  byId("empty").hidden = cards.length > 0;
}

/** Put two small cards side by side before the wide ones, to fill the row, and unused modalities last. */
function arranged(cards, unused) {
  const wide = cards.filter((card) => WIDE.some((kind) => card.classList.contains(kind)));
  const last = (card) => Number(unused.has(card.dataset.modality));
  const small = cards.filter((card) => !wide.includes(card)).sort((a, b) => last(a) - last(b));
  return [...small.slice(0, 2), ...wide, ...small.slice(2)];
}
