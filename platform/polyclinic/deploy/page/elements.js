/** Small helpers for elements, numbers and colours. */

/** The element of the page with an id. */
export const byId = (id) => document.getElementById(id);

/** Make an element with properties and children; text is never read as HTML. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key === "className" ? "class" : key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A share as whole per cent; ends that are not reached say so. */
export function percent(share) {
  if (share > 0 && share < 0.01) return "<1 %";
  if (share < 1 && share > 0.99) return ">99 %";
  return `${Math.round(100 * share)} %`;
}

/** Two digits with a sign. */
export const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`;

/** Put an element at a place that is given in shares of the one that holds it. */
export function place(made, { left, width, bottom }) {
  for (const [side, share] of Object.entries({ left, width, bottom })) {
    if (share !== undefined) made.style[side] = `${100 * share}%`;
  }
  return made;
}

/** A colour of the style sheet, as it is in the light or the dark now. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** The colour of relevance, which is the same in the light and in the dark. */
export const heat = (strength, most) => `rgba(213, 94, 0, ${(strength * most).toFixed(3)})`;

/** The places of the largest numbers above nothing, the largest first. */
export function largest(numbers, count) {
  const order = numbers.map((value, index) => [value, index]).filter(([value]) => value > 0);
  order.sort((one, other) => other[0] - one[0]);
  return order.slice(0, count).map(([, index]) => index);
}

/** A name as people write it: underscores are spaces, and the first letter is large. */
export function spoken(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
