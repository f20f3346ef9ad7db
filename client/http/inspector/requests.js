// The bodies of requests to /v1/completions.

// Alternatives that are shown for each token.
export const ALTERNATIVES = 10;

// `seed` is a text of digits: 64 bits are more than a number of JavaScript holds.
export function bodyText({ seed, ...fields }) {
  const text = JSON.stringify(fields);
  return seed ? `{"seed":${seed},${text.slice(1)}` : text;
}

// The model's completion of a text. The reply says which tokens the text and the completion have.
export function generation({ model, prompt, maxTokens, temperature, seed }) {
  return { model, prompt, max_tokens: maxTokens, temperature, seed, return_token_ids: true, logitd: {} };
}

// Log-probs, ranks and entropies of given tokens: `prompt` is a text, a list of ids, or a list of either.
// prompt_logprobs has ids as its keys, so that tokens of equal text stay apart.
export function scoring({ model, prompt }) {
  return {
    model,
    prompt,
    max_tokens: 0,
    echo: true,
    logprobs: 0,
    prompt_logprobs: ALTERNATIVES,
    return_token_ids: true,
    logitd: { rank: true, entropy: true },
  };
}

// The `count` most likely tokens after `ids`.
export function row({ model, ids, count }) {
  return { model, prompt: ids, max_tokens: 1, temperature: 0, logprobs: count, return_tokens_as_token_ids: true };
}

// One token after `ids`, drawn at a temperature: its two log-probs tell those of every other token.
export function draw({ model, ids, temperature }) {
  return {
    model,
    prompt: ids,
    max_tokens: 1,
    temperature,
    seed: "0",
    logprobs: 0,
    return_tokens_as_token_ids: true,
    logitd: { sampling_log_prob: true },
  };
}

// Completion and log-probs in one request, for a script: what the page shows, within the model's batch tolerance.
export function completionForScript({ model, prompt, maxTokens, temperature, seed }) {
  return {
    model,
    prompt,
    max_tokens: maxTokens,
    temperature,
    seed,
    echo: true,
    logprobs: ALTERNATIVES,
    logitd: { rank: true, entropy: true },
  };
}
