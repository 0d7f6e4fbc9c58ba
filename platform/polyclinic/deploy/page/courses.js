/** Views of kind courses: one row per measurement over a common time, with its reference range, and a table. */

import { element, heat, isGiven } from "./elements.js";
import { drawRows } from "./rows.js";

const HEIGHT = 46; // pixels of a row
const MARGIN = 8; // pixels above and below the lowest and the highest value
const SIDE = 4; // per cent of the width before the first and after the last event
const RADIUS = 3;
const MOST_RELEVANCE = 9; // pixels of its ring
const MAX_OPACITY = 0.6;
const LONGEST_IN_HOURS = 72;
const STEPS = [0.25, 0.5, 1, 2, 3, 4, 6, 12, 24, 48, 72, 168, 336, 720, 2160, 8760];
const MOST_STEPS = 5;

/** Return the chart with a table of all events below it, and a sentence on where relevance is strongest. */
export function drawCourses(view, relevance) {
  const time = timeAxis(view.series.flatMap((series) => series.hours));
  const rows = view.series.map((series, index) => row(series, relevance?.strength[index] ?? [], time));
  const [table, where] = drawRows(...events(view, relevance, time));
  const chart = element("div", { className: "chart" }, rows.length ? scale(time) : null, ...rows);
  const all = element("details", {}, element("summary", {}, "All values"), table);
  return [element("div", {}, chart, all), where];
}

/** Return the span of the times, and ticks at whole steps from time 0. */
function timeAxis(hours) {
  const [begin, end] = [Math.min(...hours, 0), Math.max(...hours, 0)];
  const span = Math.max(end - begin, 1);
  const step = STEPS.find((each) => span / each <= MOST_STEPS) ?? span / MOST_STEPS;
  const ticks = [];
  for (let tick = Math.ceil(begin / step); tick * step <= end; tick += 1) ticks.push(tick * step);
  const place = (hour) => `${(SIDE + ((hour - begin) / span) * (100 - 2 * SIDE)).toFixed(2)}%`;
  return { ticks, place, inDays: span > LONGEST_IN_HOURS };
}

/** Format a time as before or after time 0, or as 0. */
function when(hour, { inDays }) {
  const amount = inDays ? `${Math.abs(hour / 24).toFixed(1)} d` : `${Math.abs(hour).toFixed(1)} h`;
  return parseFloat(amount) ? `${amount} ${hour > 0 ? "after" : "before"}` : amount;
}

/** Return the events as rows of a table, the latest of each series first, with their relevance. */
function events(view, relevance, time) {
  const entries = [];
  const strength = [];
  view.series.forEach((series, index) => {
    for (let place = series.hours.length - 1; place >= 0; place -= 1) {
      entries.push({
        name: `${series.name} ${when(series.hours[place], time)}`,
        unit: series.unit,
        value: series.values[place],
        low: series.low[place],
        high: series.high[place],
        level: series.levels[place],
      });
      strength.push(relevance?.strength[index]?.[place] ?? 0);
    }
  });
  return [{ entries }, relevance && { strength }];
}

/** Return the row of a measurement: its name, its chart and its latest value. */
function row(series, strength, time) {
  const last = series.hours.length - 1;
  const side = beyond(series, last);
  const latest = isGiven(series.values[last]) ? `${series.values[last]} ${series.unit}`.trim() : series.levels[last];
  return element(
    "div",
    { className: "lane" },
    element("span", { className: "measurement" }, series.name),
    element("span", { className: "latest" }, latest ?? "\u2013", side && element("b", { className: "beyond" }, ` ${side}`)),
    drawing(series, strength, time),
  );
}

/** Return whether a value lies below or above its reference range; an end that is not stated is not crossed. */
function beyond({ values, low, high }, index) {
  if (!isGiven(values[index])) return "";
  if (isGiven(low[index]) && values[index] < low[index]) return "low";
  return isGiven(high[index]) && values[index] > high[index] ? "high" : "";
}

function drawing(series, strength, time) {
  const { name, unit, hours, values } = series;
  const height = heightOf(series);
  const picture = svg("svg", { class: "course", height: HEIGHT, role: "img", "aria-label": `${name} over time` });
  picture.append(...ranges(series, height, time));
  for (const tick of time.ticks) {
    picture.append(svg("line", { class: "tick", x1: time.place(tick), x2: time.place(tick), y1: 0, y2: HEIGHT }));
  }
  picture.append(...lines(series, height, time));
  hours.forEach((hour, index) => {
    const middle = isGiven(values[index]) ? height(values[index]) : HEIGHT / 2;
    const at = { cx: time.place(hour), cy: middle };
    if (strength[index] > 0) {
      const size = RADIUS + MOST_RELEVANCE * strength[index];
      picture.append(svg("circle", { ...at, r: size, fill: heat(1, MAX_OPACITY), class: "ring" }));
    }
    const side = beyond(series, index);
    const given = isGiven(values[index]) ? `${values[index]} ${unit}`.trim() : (series.levels[index] ?? "no value");
    const mark = side
      ? svg("text", { x: at.cx, y: middle, class: "mark beyond" }, side === "low" ? "\u25bc" : "\u25b2")
      : svg("circle", { ...at, r: RADIUS, class: isGiven(values[index]) ? "mark" : "mark level" });
    mark.append(svg("title", {}, `${given}, ${when(hour, time)}${side && `, ${side}`}`));
    picture.append(mark);
  });
  return picture;
}

/** Return a function from a value to its height, with room for the values and their reference ranges. */
function heightOf({ values, low, high }) {
  const known = [...values, ...low, ...high].filter(isGiven);
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const share = (value) => (most > least ? (value - least) / (most - least) : 0.5);
  return (value) => HEIGHT - MARGIN - share(value) * (HEIGHT - 2 * MARGIN);
}

/** Return a band for each stretch of events with the same reference range; it holds until the next event. */
function ranges({ hours, low, high }, height, time) {
  const starts = hours.map((hour, index) => index);
  const changes = starts.filter((index) => low[index] !== low[index - 1] || high[index] !== high[index - 1]);
  return changes.flatMap((index, number) => {
    if (!isGiven(low[index]) && !isGiven(high[index])) return [];
    const next = changes[number + 1];
    const [begin, end] = [index ? time.place(hours[index]) : "0%", next ? time.place(hours[next]) : "100%"];
    const top = isGiven(high[index]) ? height(high[index]) : 0;
    const bottom = isGiven(low[index]) ? height(low[index]) : HEIGHT;
    const width = `${(parseFloat(end) - parseFloat(begin)).toFixed(2)}%`;
    return [svg("rect", { class: "reference", x: begin, width, y: top, height: Math.max(bottom - top, 1) })];
  });
}

/** Return a line between consecutive numbers. */
function lines({ hours, values }, height, time) {
  const known = values.map((value, index) => index).filter((index) => isGiven(values[index]));
  return known.slice(1).map((index, before) => {
    const start = known[before];
    const [x1, x2] = [time.place(hours[start]), time.place(hours[index])];
    return svg("line", { class: "between", x1, x2, y1: height(values[start]), y2: height(values[index]) });
  });
}

/** Return the first row: the ticks with their times. */
function scale(time) {
  const picture = svg("svg", { class: "course", height: 18, "aria-hidden": "true" });
  for (const tick of time.ticks) {
    const amount = time.inDays ? `${+(tick / 24).toFixed(1)} d` : `${+tick.toFixed(2)} h`;
    picture.append(svg("text", { x: time.place(tick), y: 13, class: "time" }, amount.replace("-", "\u2212")));
  }
  return element("div", { className: "lane times" }, picture);
}

/** Make an SVG element with attributes and children; text is never read as HTML. */
function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
