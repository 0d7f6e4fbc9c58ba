/** Helpers for elements, numbers and colours. */

/** Return the element with an id. */
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

/** Format a share in whole per cent; 0 % and 100 % appear only for exactly 0 and 1. */
export function percent(share) {
  if (share > 0 && share < 0.01) return "<1 %";
  if (share < 1 && share > 0.99) return ">99 %";
  return `${Math.round(100 * share)} %`;
}

/** Format a number with a sign and two decimals. */
export const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`;

/** Return whether a value of an answer is known. */
export const isGiven = (value) => value !== null && value !== undefined;

/** Position an element, in shares of its container. */
export function place(made, { left, width, bottom }) {
  for (const [side, share] of Object.entries({ left, width, bottom })) {
    if (share !== undefined) made.style[side] = `${100 * share}%`;
  }
  return made;
}

/** Return a colour of the style sheet for the current colour scheme. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Return the colour of relevance, which is the same in the light and the dark scheme. */
export const heat = (strength, most) => `rgba(213, 94, 0, ${(strength * most).toFixed(3)})`;

/** Return the indices of the largest positive numbers, the largest first. */
export function largest(numbers, count) {
  const order = numbers.map((value, index) => [value, index]).filter(([value]) => value > 0);
  order.sort(([first], [second]) => second - first);
  return order.slice(0, count).map(([, index]) => index);
}

/** Format a name for display: spaces for underscores, and an upper-case first letter. */
export function displayName(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
