// The page: its form, its state, and what happens when a button is pressed.

import { ApiError, complete, listModels, setBearer } from "./api.js";
import { Candidates } from "./candidates.js";
import { compensatedSum } from "./distribution.js";
import { bodyText, completionForScript, generation, scoring } from "./requests.js";
import { RowCache } from "./row_cache.js";
import { formatNats, scoredTokens } from "./scored_tokens.js";
import { curl, python } from "./snippets.js";
import { TokenDetails } from "./token_details.js";
import { TokenFlow } from "./token_flow.js";

const byId = (id) => document.getElementById(id);
const FIELDS = { prompt: "prompt", max_tokens: "max-tokens", temperature: "temperature", seed: "seed", model: "model" };

const state = { models: [], tokens: [], promptCount: 0, completion: "", seed: "", abort: null };

// --- Errors and progress

function showError(failure) {
  byId("error").hidden = false;
  byId("error-message").textContent = failure.message;
  const advice = failure instanceof ApiError ? failure.advice : "";
  byId("error-advice").textContent = advice;
  const facts = [failure.status ? `HTTP ${failure.status}` : "", failure.code, failure.param].filter(Boolean);
  byId("error-facts").textContent = facts.join(" · ");
  // "prompt[2]" is of the prompt.
  const field = FIELDS[String(failure.param ?? "").replace(/[[.].*/, "")];
  if (field) byId(field).setAttribute("aria-invalid", "true");
}

function clearError() {
  byId("error").hidden = true;
  for (const id of Object.values(FIELDS)) byId(id).removeAttribute("aria-invalid");
}

// Runs one action: an earlier one is given up, errors are shown. `work(signal)` returns a text for the status line.
async function run(work) {
  state.abort?.abort();
  const abort = new AbortController();
  state.abort = abort;
  clearError();
  document.body.dataset.busy = "true";
  byId("status").textContent = "Running";
  byId("stop").hidden = false;
  try {
    byId("status").textContent = await work(abort.signal);
  } catch (failure) {
    if (state.abort !== abort) return;
    byId("status").textContent = failure.name === "AbortError" ? "Stopped" : "";
    if (failure.name !== "AbortError") showError(failure);
  } finally {
    if (state.abort === abort) {
      state.abort = null;
      delete document.body.dataset.busy;
      byId("stop").hidden = true;
    }
  }
}

// --- Models

async function loadModels(signal) {
  state.models = await listModels(signal);
  const chosen = byId("model").value;
  byId("model").replaceChildren(...state.models.map((model) => new Option(model.id, model.id, false, model.id === chosen)));
  if (state.models.length === 0) throw new Error("The server has no model yet. Start a runner, then reload the page.");
  return state.models.length === 1 ? "1 model" : `${state.models.length} models`;
}

async function model(signal) {
  if (state.models.length === 0) await loadModels(signal);
  return state.models.find((one) => one.id === byId("model").value);
}

// --- The completion

function numberOf(id, name) {
  const value = byId(id).valueAsNumber;
  if (Number.isNaN(value)) throw new ApiError(`${name} must be a number.`, { status: 0, param: id.replaceAll("-", "_") });
  return value;
}

function form() {
  const seed = byId("seed").value.trim();
  if (seed && !/^-?(0|[1-9]\d{0,19})$/.test(seed)) throw new Error("The seed must be a whole number of 64 bits.");
  return {
    model: byId("model").value,
    prompt: byId("prompt").value,
    maxTokens: numberOf("max-tokens", "The number of tokens"),
    temperature: numberOf("temperature", "The temperature"),
    seed: seed || undefined,
  };
}

function factsText(tokens, promptCount, choice) {
  const generated = tokens.slice(promptCount);
  const sum = compensatedSum(generated.map((token) => token.logProb));
  const parts = [`${promptCount} prompt tokens`, `${generated.length} generated (${choice.finish_reason})`];
  if (generated.length) {
    parts.push(`log-prob ${formatNats(sum)}`, `perplexity ${Math.exp(-sum / generated.length).toPrecision(4)}`);
  }
  if (state.seed) parts.push(`seed ${state.seed}`);
  return parts.join(" · ");
}

async function completePrompt(signal) {
  const facts = await model(signal);
  const fields = form();
  const reply = await complete(bodyText(generation(fields)), signal);
  const choice = reply.choices[0];
  const ids = [...choice.prompt_token_ids, ...choice.token_ids];
  const scored = await complete(bodyText(scoring({ model: facts.id, prompt: ids })), signal);
  const { vocab_size: vocabSize, max_top_n: maxTopN } = facts.logitd;
  state.tokens = scoredTokens(scored.choices[0], vocabSize);
  state.promptCount = choice.prompt_token_ids.length;
  state.completion = choice.text;
  state.seed = fields.temperature === 0 ? "" : reply.logitd.seed;
  details.setCache(new RowCache({ model: facts.id, vocabSize, maxTopN, tokens: state.tokens }));
  flow.render(state.tokens, state.promptCount);
  byId("result").hidden = false;
  byId("facts").textContent = factsText(state.tokens, state.promptCount, choice);
  byId("use-completion").disabled = choice.text === "";
  // The first token that the model chose, or else the last one of the prompt.
  flow.select(Math.min(state.promptCount, state.tokens.length - 1));
  return `${state.tokens.length} tokens`;
}

const details = new TokenDetails({ onError: showError });
const flow = new TokenFlow(byId("tokens"), {
  onSelect: (index) => details.show(state.tokens[index]),
  onPeek: (index) => {
    const shown = index ?? flow.selected;
    if (shown >= 0) details.show(state.tokens[shown], { isPeek: shown !== flow.selected });
  },
});
const candidates = new Candidates({
  run,
  facts: () => {
    const one = state.models.find((known) => known.id === byId("model").value);
    return { model: byId("model").value, vocabSize: one?.logitd.vocab_size, prompt: byId("prompt").value };
  },
});

// --- Snippets

function openSnippet(title, makeText) {
  let text;
  try {
    text = makeText();
  } catch (failure) {
    showError(failure);
    return;
  }
  byId("snippet-title").textContent = title;
  byId("snippet-text").value = text;
  byId("snippet").showModal();
  byId("snippet-text").select();
  byId("snippet-status").textContent = "";
}

async function copySnippet() {
  byId("snippet-text").select();
  try {
    await navigator.clipboard.writeText(byId("snippet-text").value);
    byId("snippet-status").textContent = "Copied.";
  } catch {
    // Browsers keep the clipboard from pages that came without TLS from another machine.
    byId("snippet-status").textContent = "Press Ctrl+C to copy the selected text.";
  }
}

// A completion that was drawn is drawn again with its seed.
const scriptBody = () => {
  const fields = form();
  return completionForScript({ ...fields, seed: fields.seed ?? (state.seed || undefined) });
};

// --- Events

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run(completePrompt);
});
for (const id of ["form", "candidates-form"]) {
  byId(id).addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    byId(id).requestSubmit();
  });
}
byId("stop").addEventListener("click", () => state.abort?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !byId("snippet").open) state.abort?.abort();
});
byId("copy-curl").addEventListener("click", () => openSnippet("curl", () => curl(scriptBody())));
byId("copy-python").addEventListener("click", () => openSnippet("Python", () => python(scriptBody())));
byId("compare-curl").addEventListener("click", () => openSnippet("curl", () => curl(candidates.body())));
byId("compare-python").addEventListener("click", () => openSnippet("Python", () => python(candidates.body())));
byId("snippet-copy").addEventListener("click", copySnippet);
byId("snippet-close").addEventListener("click", () => byId("snippet").close());
byId("use-completion").addEventListener("click", () => candidates.add(state.completion));
byId("token").addEventListener("change", () => {
  setBearer(byId("token").value);
  run(loadModels);
});

run(loadModels);
