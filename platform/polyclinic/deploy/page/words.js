/** A text with a ground behind each word, the stronger the more relevant it is. */

import { element, heat, largest } from "./elements.js";

const STRONGEST = 0.6;
const FAINTEST = 0.02;

/** The text, and its words of most relevance. */
export function drawWords(view, relevance) {
  const strength = relevance?.strength ?? [];
  const text = element("p", { className: "text", tabIndex: 0 });
  let plain = "";
  view.words.forEach((word, index) => {
    const weight = strength[index] ?? 0;
    if (weight < FAINTEST) {
      plain += word;
      return;
    }
    const bare = word.trimStart();
    text.append(plain + word.slice(0, word.length - bare.length));
    plain = "";
    const marked = element("mark", {}, bare);
    marked.style.backgroundColor = heat(weight, STRONGEST);
    text.append(marked);
  });
  text.append(plain);
  if (!relevance) return [text, ""];
  const most = largest(strength, 3).map((index) => `\u201c${view.words[index].trim()}\u201d`);
  return [text, most.length ? `Strongest in ${most.join(", ")}.` : "No word speaks for this finding."];
}
