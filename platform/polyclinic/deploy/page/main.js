/** One study: from dropped files to what the model says of them, and where that comes from. */

import { byId, element, spoken } from "./elements.js";
import { drawFindings, summary } from "./findings.js";
import { drawModalities } from "./modalities.js";
import { Refused, bundle, score, setToken } from "./service.js";
import { Study, dropped } from "./study.js";
import { drawViews } from "./views.js";

const MOST_FILES = 50; // of one study; more are a folder that was dropped by mistake
const study = new Study(() => rescore({ views: true }));
const off = new Set();
let about = { modalities: [], findings: [] };
let answer = null;
let views = {};
let before = null;
let chosen = null;
let answered = { off: [], chosen: null };
let running = new AbortController();
let retry = open;

async function open() {
  try {
    about = await bundle();
  } catch (error) {
    refuse(error, open);
    return;
  }
  settle();
  study.meet(about.modalities);
  document.title = `${about.name}: one study`;
  byId("bundle").textContent = `${about.name} ${about.version ?? ""}`;
  if (about.not_a_device) byId("banner").textContent = about.not_a_device;
  const takes = about.modalities.filter(speaks).map((one) => `${title(one)} (${(one.accept ?? []).join(", ")})`);
  byId("accepted").textContent = takes.join(" \u00b7 ");
  byId("intended").textContent = about.intended_use ?? "";
  const facts = { Name: about.name, Version: about.version, Made: about.created, "SHA-256": about.sha256 };
  const known = Object.entries(facts).filter(([, value]) => value);
  byId("facts").replaceChildren(...known.flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)]));
  if (study.entries.length) await rescore({ views: true });
}

/** Ask anew; what is still under way is forgotten. */
async function rescore({ views: fresh }) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  if (fresh) {
    forget();
    draw();
  }
  const sent = study.sent(off);
  if (!sent.length) {
    settle();
    busy(false);
    say(study.entries.length ? "None of these files is of a modality that the model takes." : "No study yet.");
    return;
  }
  const wanted = { off: [...off], chosen };
  busy(true);
  try {
    const found = await score(sent, { views: fresh, explain: chosen, signal });
    if (signal.aborted) return;
    settle();
    study.learn(sent, found.files);
    answer = found;
    answered = wanted;
    if (fresh) views = found.views ?? {};
    if (!off.size) before = Object.fromEntries(found.findings.map((one) => [one.name, one]));
    draw();
    say(`${summary(found.findings)}${chosen ? ` Shown is where ${spoken(chosen)} comes from.` : ""}`);
  } catch (error) {
    if (error.name === "AbortError") return;
    take(answered);
    refuse(error, () => {
      take(wanted);
      rescore({ views: fresh });
    });
  } finally {
    if (!signal.aborted) busy(false);
  }
}

/** Another study: nothing of the last one may stand beside it. */
function forget() {
  [answer, views, before] = [null, {}, null];
  answered = { off: [], chosen: null };
  take(answered);
}

/** Which modalities are left out, and which finding is explained. */
function take(state) {
  off.clear();
  state.off.forEach((name) => off.add(name));
  chosen = state.chosen;
}

function draw() {
  const titles = Object.fromEntries(about.modalities.map((one) => [one.name, title(one)]));
  const aurocs = Object.fromEntries(about.findings.map(({ name, auroc }) => [name, auroc]));
  drawModalities(about.modalities.filter(speaks), answer?.modalities, { off, switchable, onSwitch });
  drawFindings(answer?.findings ?? [], { aurocs, titles, before: off.size ? before : null, chosen, onChoose });
  const shown = byId("heat").checked && chosen ? answer?.relevance : null;
  const silent = new Set(about.modalities.filter((one) => !speaks(one)).map(({ name }) => name));
  drawViews(views, { titles, relevance: shown ?? null, off, silent });
  byId("results").hidden = !answer;
  byId("explained").hidden = !chosen || !answer;
  byId("finding").textContent = chosen ? spoken(chosen) : "";
  const notes = answer?.notes ?? [];
  byId("notes").replaceChildren(...notes.map((note) => element("li", {}, note)));
  byId("notes").hidden = !notes.length;
}

/** A modality can be left out where its files are known, and where another one stays. */
function switchable(name) {
  const speaking = Object.entries(answer?.modalities ?? {}).filter(([, use]) => use.used);
  return speaking.length > 1 && study.sorted() && study.entries.some((entry) => entry.modality === name);
}

function onSwitch(name, on) {
  if (on) off.delete(name);
  else off.add(name);
  rescore({ views: false });
}

function onChoose(name) {
  chosen = chosen === name ? null : name;
  rescore({ views: false });
}

const speaks = (one) => one.query !== false;
const title = (one) => one.title ?? spoken(one.name);
const say = (sentence) => (byId("status").textContent = sentence);

function busy(is) {
  byId("findings-section").setAttribute("aria-busy", String(is));
  if (is) say("Reading and scoring ...");
}

/** Say what went wrong; after a token was given, `again` is tried. */
function refuse(error, again) {
  retry = again;
  draw();
  say(answer ? summary(answer.findings) : "");
  byId("problem").textContent = error.message;
  byId("refused").hidden = false;
  byId("again").hidden = error.needsToken;
  byId("login").hidden = !error.needsToken;
  if (error.needsToken) byId("token").focus();
  busy(false);
}

function receive(files) {
  if (files.length > MOST_FILES) {
    refuse(new Refused(`Got ${files.length} files, expected those of one study: ${MOST_FILES} at most.`, false), settle);
    return;
  }
  study.add(files);
}

function settle() {
  byId("refused").hidden = true;
  byId("login").hidden = true;
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(byId("token").value.trim());
  byId("token").value = "";
  retry();
});
byId("again").addEventListener("click", () => retry());
byId("chosen").addEventListener("change", (event) => {
  receive([...event.target.files]);
  event.target.value = "";
});
byId("clear").addEventListener("click", () => study.clear());
byId("heat").addEventListener("change", draw);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").classList.remove("over");
});
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  receive(await dropped(event.dataTransfer));
});

open();
