// Calls to this process's own API. The bearer token lives in a variable of this module and nowhere else.

let bearer = "";

export function setBearer(token) {
  bearer = token.trim();
}

export function hasBearer() {
  return bearer !== "";
}

// A reply that is no success, in OpenAI's shape, or a request that got no reply (status 0).
export class ApiError extends Error {
  constructor(message, { status = 0, code = "", param = "", retryAfter = "" } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
    this.retryAfter = retryAfter;
  }

  // One sentence for the person in front of the page. Empty: the message says it all.
  get advice() {
    if (this.status === 0) return "Check that logitd-http still runs, then run again.";
    if (this.code === "server_unreachable") return "Start logitd, or correct --server of logitd-http; then run again.";
    if (this.status === 401) {
      return hasBearer() ? "Correct the bearer token under Access." : "Enter a bearer token under Access.";
    }
    if (this.status === 403) return "Ask whoever runs the server for access.";
    if (this.code === "context_length_exceeded") return "Shorten the prompt, or ask for fewer tokens.";
    if (this.code === "model_not_found" || this.code === "model_ambiguous") return "Choose a model, or reload the page.";
    if (this.code === "limit_exceeded") return "Ask for less at once: a shorter text, fewer tokens or fewer candidates.";
    if (this.status === 503) {
      return `Run again ${this.retryAfter ? `in ${this.retryAfter} s` : "in a moment"}.`;
    }
    if (this.status >= 500) return "Look at the logs of logitd and logitd-http.";
    return "";
  }
}

async function errorOf(response) {
  const fields = { status: response.status, retryAfter: response.headers.get("Retry-After") ?? "" };
  try {
    const { error } = await response.json();
    return new ApiError(String(error.message), { ...fields, code: error.code ?? "", param: error.param ?? "" });
  } catch {
    return new ApiError(`The reply has status ${response.status} and is no error of logitd-http.`, fields);
  }
}

async function send(path, options) {
  const headers = options.body === undefined ? {} : { "Content-Type": "application/json" };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new ApiError(`No reply from ${location.origin}: ${failure.message}.`);
  }
  if (!response.ok) throw await errorOf(response);
  try {
    return await response.json();
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new ApiError("The reply broke off, or is no JSON.", { status: 0 });
  }
}

// The models, as /v1/models lists them.
export async function listModels(signal) {
  return (await send("v1/models", { signal })).data;
}

// `body`: JSON text. Returns the reply to /v1/completions.
export function complete(body, signal) {
  return send("v1/completions", { method: "POST", body, signal });
}
