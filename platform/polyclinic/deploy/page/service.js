/** The two questions that this page asks its service; the token stays in this module's memory. */

let token = "";

/** Use a token from now on; an empty one is none. */
export function setToken(given) {
  token = given;
}

/** What went wrong, as a sentence, and whether a token would help. */
export class Refused extends Error {
  constructor(message, needsToken) {
    super(message);
    this.needsToken = needsToken;
  }
}

/** Which model answers, and what it takes. */
export const bundle = () => ask("v1/bundle", {});

/**
 * Score one study.
 *
 * @param {{file: File, modality: string}[]} files with an empty modality where the service is to find out
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
  const said = content?.error?.message ?? `The service answered with status ${answer.status} and no reason.`;
  throw new Refused(said, answer.status === 401);
}
