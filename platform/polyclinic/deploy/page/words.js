/** Views of kind words: a text in which the background of each word shows its relevance. */

import { element, heat, largest } from "./elements.js";

const MAX_OPACITY = 0.6;
const MIN_RELEVANCE = 0.02;

/** Return the text, and a sentence on the words with the largest relevance. */
export function drawWords(view, relevance) {
  const strength = relevance?.strength ?? [];
  const text = element("p", { className: "text", tabIndex: 0 });
  let plain = "";
  view.words.forEach((word, index) => {
    const weight = strength[index] ?? 0;
    if (weight < MIN_RELEVANCE) {
      plain += word;
      return;
    }
    const bare = word.trimStart();
    text.append(plain + word.slice(0, word.length - bare.length));
    plain = "";
    const marked = element("mark", {}, bare);
    marked.style.backgroundColor = heat(weight, MAX_OPACITY);
    text.append(marked);
  });
  text.append(plain);
  if (!relevance) return [text, ""];
  const most = largest(strength, 3).map((index) => `\u201c${view.words[index].trim()}\u201d`);
  return [text, most.length ? `Strongest in ${most.join(", ")}.` : "No word is evidence for this finding."];
}
