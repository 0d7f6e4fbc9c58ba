/** The page of one study: from dropped files to scores, and their explanation. */

import { byId, element, displayName } from "./elements.js";
import { drawEstimates, estimateSummary } from "./estimates.js";
import { drawFindings, summary } from "./findings.js";
import { drawModalities } from "./modalities.js";
import { Refused, bundle, hasToken, score, setToken } from "./service.js";
import { Study, dropped } from "./study.js";
import { drawViews } from "./views.js";

const MAX_FILES = 1000; // per study, such as the slices of a scan; more are probably an archive, dropped by mistake
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
  const takes = about.modalities.filter(isInput).map((modality) => `${title(modality)} (${(modality.accept ?? []).join(", ")})`);
  byId("accepted").textContent = takes.join(" \u00b7 ");
  byId("intended").textContent = about.intended_use ?? "";
  byId("baseline").textContent = about.baseline ?? "";
  byId("evidence").textContent = about.evidence ?? "";
  const facts = { Name: about.name, Version: about.version, Created: about.created, "SHA-256": about.sha256 };
  const given = Object.entries(facts).filter(([, value]) => value);
  byId("facts").replaceChildren(...given.flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)]));
  if (study.entries.length) await rescore({ views: true });
}

/** Score the study again; a request in progress is aborted. */
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
    say(study.entries.length ? "The model does not accept any of these files." : "No study yet.");
    return;
  }
  const wanted = { off: [...off], chosen };
  busy(true);
  try {
    const scores = await score(sent, { views: fresh, explain: chosen, signal });
    if (signal.aborted) return;
    settle();
    study.learn(sent, scores.files);
    answer = scores;
    answered = wanted;
    if (fresh) views = scores.views ?? {};
    if (!off.size) before = Object.fromEntries([...scores.findings, ...estimates(scores)].map((entry) => [entry.name, entry]));
    draw();
    const mapped = chosen && Object.keys(scores.relevance ?? {}).length;
    say(`${summarise(scores)}${mapped ? ` The views show the evidence for ${displayName(chosen)}.` : ""}`);
  } catch (error) {
    if (error.name === "AbortError") return;
    restore(answered);
    refuse(error, () => {
      restore(wanted);
      rescore({ views: fresh });
    });
  } finally {
    if (!signal.aborted) busy(false);
  }
}

/** Clear all results, so that none is shown beside the next study. */
function forget() {
  [answer, views, before] = [null, {}, null];
  answered = { off: [], chosen: null };
  restore(answered);
}

/** Restore the switched-off modalities and the explained finding. */
function restore(state) {
  off.clear();
  state.off.forEach((name) => off.add(name));
  chosen = state.chosen;
}

function draw() {
  const titles = Object.fromEntries(about.modalities.map((modality) => [modality.name, title(modality)]));
  const aurocs = Object.fromEntries(about.findings.map(({ name, auroc }) => [name, auroc]));
  drawModalities(about.modalities.filter(isInput), answer?.modalities, { off, switchable, onSwitch });
  const state = { titles, before: off.size ? before : null, chosen, onChoose };
  drawFindings(answer?.findings ?? [], { aurocs, ...state });
  const errors = Object.fromEntries((about.estimates ?? []).map((estimate) => [estimate.name, estimate]));
  drawEstimates(estimates(answer), { errors, ...state });
  const shown = byId("heat").checked && chosen ? answer?.relevance : null;
  const unused = new Set(about.modalities.filter((modality) => !isInput(modality)).map(({ name }) => name));
  drawViews(views, { titles, relevance: shown ?? null, off, unused });
  byId("results").hidden = !answer;
  byId("explained").hidden = !chosen || !answer;
  byId("evidence").hidden = !shown || !about.evidence;
  byId("finding").textContent = chosen ? displayName(chosen) : "";
  const notes = answer?.notes ?? [];
  byId("notes").replaceChildren(...notes.map((note) => element("li", {}, note)));
  byId("notes").hidden = !notes.length;
}

/** Return whether a modality can be switched off: its files are known, and another modality remains. */
function switchable(name) {
  const used = Object.entries(answer?.modalities ?? {}).filter(([, use]) => use.used);
  return used.length > 1 && study.sorted() && study.entries.some((entry) => entry.modality === name);
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

const isInput = (modality) => modality.query !== false;
const estimates = (scores) => scores?.estimates ?? [];
const title = (modality) => modality.title ?? displayName(modality.name);
const say = (sentence) => (byId("status").textContent = sentence);

/** Summarise an answer; a head may have estimates alone. */
function summarise(scores) {
  const estimated = estimateSummary(estimates(scores));
  if (!scores.findings.length && estimated) return estimated;
  return [summary(scores.findings), estimated].filter(Boolean).join(" ");
}

function busy(is) {
  byId("findings-section").setAttribute("aria-busy", String(is));
  if (is) say("Reading and scoring ...");
}

/** Show an error; `again` is called when the user tries again or enters a token. */
function refuse(error, again) {
  retry = again;
  draw();
  say(answer ? summarise(answer) : "");
  byId("problem").textContent = error.message;
  // Before a token was entered, the field that asks for one says enough.
  byId("refused").hidden = error.needsToken && !hasToken();
  byId("again").hidden = error.needsToken;
  byId("login").hidden = !error.needsToken;
  if (error.needsToken) byId("token").focus();
  busy(false);
}

function receive(files) {
  if (files.length > MAX_FILES) {
    refuse(new Refused(`Got ${files.length} files, expected those of one study: ${MAX_FILES} at most.`, false), settle);
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
