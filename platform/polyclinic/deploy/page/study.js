/** The files of a study, and the modality of each. */

import { byId, element, displayName } from "./elements.js";

const AUTOMATIC = "";

/** Files in the order in which they were added; `onChange` is called when the study has to be scored again. */
export class Study {
  constructor(onChange) {
    this.entries = [];
    this.modalities = [];
    this.onChange = onChange;
  }

  /** Add files; a file replaces an earlier one of the same name. */
  add(files) {
    for (const file of files.filter(({ name }) => !name.startsWith("."))) {
      const old = this.entries.findIndex((entry) => entry.file.name === file.name);
      const entry = { file, ...this.kind(file.name) };
      if (old < 0) this.entries.push(entry);
      else this.entries[old] = entry;
    }
    if (files.length) this.changed();
  }

  /** Remove all files. */
  clear() {
    this.entries = [];
    this.changed();
    byId("chosen").focus();
  }

  /** Return the files to send: not of switched-off modalities, and not those that fit no modality. */
  sent(off) {
    return this.entries.filter((entry) => !off.has(entry.modality) && (entry.modality || !entry.assigned));
  }

  /** Store the modalities that the service assigned to the files sent without one. */
  learn(sent, sorted) {
    const asked = sent.filter((entry) => entry.modality === AUTOMATIC);
    asked.forEach((entry, index) => {
      entry.modality = sorted?.[index] ?? AUTOMATIC;
      entry.assigned ||= Boolean(sorted);
    });
    this.draw();
  }

  /** Return whether every file has a modality or is known to fit none. */
  sorted() {
    return this.entries.every((entry) => entry.modality !== AUTOMATIC || entry.assigned);
  }

  /** Find the modality that accepts a file name; if several do, or the name has no ending, the service assigns one. */
  kind(name) {
    const takes = this.modalities.filter(({ accept }) => accept?.some((end) => name.toLowerCase().endsWith(end)));
    // The number at the end of a UID is not an ending.
    const fitsNone = this.modalities.length > 0 && !takes.length && /\.(?!\d+$)[^.]*$/.test(name);
    return { modality: takes.length === 1 ? takes[0].name : AUTOMATIC, assigned: fitsNone };
  }

  /** Set the modalities of the bundle, and assign the files that were added before. */
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
    const choices = this.modalities.map(({ name, title }) => [name, title ?? displayName(name)]);
    for (const [value, text] of [[AUTOMATIC, entry.assigned ? "no modality" : "automatic"], ...choices]) {
      choice.append(element("option", { value, selected: value === entry.modality }, text));
    }
    choice.addEventListener("change", () => {
      Object.assign(entry, { modality: choice.value, assigned: false });
      this.changed();
    });
    const remove = element(
      "button",
      { type: "button", className: "quiet", "aria-label": `Remove ${name}`, "data-entry": `remove ${index}` },
      "\u00d7",
    );
    remove.addEventListener("click", () => {
      this.entries = this.entries.filter((other) => other !== entry);
      this.changed();
    });
    return element("li", {}, element("span", { className: "name", title: name }, name), choice, remove);
  }
}

/** Return the dropped files, including those in folders. */
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
    const batch = await new Promise((found, failed) => reader.readEntries(found, failed));
    if (!batch.length) break;
    all.push(...batch);
  }
  return (await Promise.all(all.map(filesOf))).flat();
}
