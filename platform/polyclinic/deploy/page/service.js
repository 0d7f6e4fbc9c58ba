/** The two requests of the page to its service; the token is held in the memory of this module only. */

let token = "";

/** Set the token of later requests; empty for none. */
export function setToken(given) {
  token = given;
}

/** Return whether a token was set. */
export function hasToken() {
  return token !== "";
}

/** An error with a message for the user; `needsToken` if a valid token is required. */
export class Refused extends Error {
  constructor(message, needsToken) {
    super(message);
    this.needsToken = needsToken;
  }
}

/** Fetch the description of the served bundle. */
export const bundle = () => ask("v1/bundle", {});

/**
 * Score one study.
 *
 * @param {{file: File, modality: string}[]} files the modality is empty if the service is to assign it
 * @param {{views: boolean, explain: string|null, signal: AbortSignal}} wanted
 */
export function score(files, { views, explain, signal }) {
  const form = new FormData();
  for (const { file, modality } of files) form.append(modality || "files", file, file.name);
  const query = new URLSearchParams({ views: String(views) });
  if (explain) query.set("explain", explain);
  return ask(`v1/score?${query}`, { method: "POST", body: form, signal });
}

async function ask(address, request) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(address, { ...request, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The service cannot be reached, or a file changed after it was chosen.", false);
  }
  const content = await answer.json().catch(() => null);
  if (answer.ok && content !== null) return content;
  const message = content?.error?.message ?? `The service answered with status ${answer.status} without a reason.`;
  throw new Refused(message, answer.status === 401);
}
