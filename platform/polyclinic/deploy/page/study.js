/** The files of the study, and which modality each of them is. */

import { byId, element, spoken } from "./elements.js";

const AUTOMATIC = "";

/** Files by the order in which they came; `onChange` is told whenever another study is to be scored. */
export class Study {
  constructor(onChange) {
    this.entries = [];
    this.modalities = [];
    this.onChange = onChange;
  }

  /** Add files; one of the same name takes the place of the other. */
  add(files) {
    for (const file of files.filter((one) => !one.name.startsWith("."))) {
      const old = this.entries.findIndex((entry) => entry.file.name === file.name);
      const entry = { file, ...this.kind(file.name) };
      if (old < 0) this.entries.push(entry);
      else this.entries[old] = entry;
    }
    if (files.length) this.changed();
  }

  /** Start again with none. */
  clear() {
    this.entries = [];
    this.changed();
    byId("chosen").focus();
  }

  /** What to send: without the modalities that are switched off, and without files of no modality. */
  sent(off) {
    return this.entries.filter((entry) => !off.has(entry.modality) && (entry.modality || !entry.told));
  }

  /** Keep what the service found out about the files that it was to sort. */
  learn(sent, sorted) {
    const asked = sent.filter((entry) => entry.modality === AUTOMATIC);
    asked.forEach((entry, index) => {
      entry.modality = sorted?.[index] ?? AUTOMATIC;
      entry.told ||= Boolean(sorted);
    });
    this.draw();
  }

  /** Whether each file is known to be of one modality, or of none. */
  sorted() {
    return this.entries.every((entry) => entry.modality !== AUTOMATIC || entry.told);
  }

  /** The one modality that takes files with such a name; where several do, or it has no ending, the service tells. */
  kind(name) {
    const takes = this.modalities.filter(({ accept }) => accept?.some((end) => name.toLowerCase().endsWith(end)));
    const nobody = this.modalities.length > 0 && !takes.length && name.includes(".");
    return { modality: takes.length === 1 ? takes[0].name : AUTOMATIC, told: nobody };
  }

  /** The bundle is known by now, so that files that came before it can be sorted. */
  meet(modalities) {
    this.modalities = modalities;
    for (const entry of this.entries) {
      if (entry.modality === AUTOMATIC) Object.assign(entry, this.kind(entry.file.name));
    }
    this.draw();
  }

  changed() {
    this.draw();
    this.onChange();
  }

  draw() {
    const list = byId("files");
    const held = list.contains(document.activeElement) ? document.activeElement.dataset.entry : null;
    list.replaceChildren(...this.entries.map((entry, index) => this.item(entry, index)));
    byId("clear").hidden = !this.entries.length;
    byId("drop").classList.toggle("small", this.entries.length > 0);
    if (held) (list.querySelector(`[data-entry="${held}"]`) ?? byId("chosen")).focus();
  }

  item(entry, index) {
    const name = entry.file.name;
    const choice = element("select", { "aria-label": `Modality of ${name}`, "data-entry": `choice ${index}` });
    const known = this.modalities.map((one) => [one.name, one.title ?? spoken(one.name)]);
    for (const [value, text] of [[AUTOMATIC, entry.told ? "no modality" : "found out"], ...known]) {
      choice.append(element("option", { value, selected: value === entry.modality }, text));
    }
    choice.addEventListener("change", () => {
      Object.assign(entry, { modality: choice.value, told: false });
      this.changed();
    });
    const remove = element(
      "button",
      { type: "button", className: "quiet", "aria-label": `Remove ${name}`, "data-entry": `remove ${index}` },
      "\u00d7",
    );
    remove.addEventListener("click", () => {
      this.entries = this.entries.filter((one) => one !== entry);
      this.changed();
    });
    return element("li", {}, element("span", { className: "name", title: name }, name), choice, remove);
  }
}

/** Files of a drop, those in folders too. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((found, failed) => entry.file(found, failed))];
  const reader = entry.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((found, failed) => reader.readEntries(found, failed));
    if (!some.length) break;
    all.push(...some);
  }
  return (await Promise.all(all.map(filesOf))).flat();
}
