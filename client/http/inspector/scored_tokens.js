// Replies of /v1/completions as lists of tokens, and numbers as texts.

import { Row } from "./distribution.js";
import { ALTERNATIVES } from "./requests.js";
import { byteLength } from "./visible_text.js";

// The alternatives of one entry of prompt_logprobs, the most likely first; of equal ones the lower id.
function alternativesOf(entry) {
  return Object.entries(entry)
    .map(([id, one]) => ({ id: Number(id), text: one.decoded_token, logProb: one.logprob ?? -Infinity, rank: one.rank }))
    .sort((a, b) => b.logProb - a.logProb || a.id - b.id);
}

// What is known of a row from its few most likely tokens. `own`: the token that stands there, perhaps far down.
function rowOf(alternatives, own, vocabSize) {
  const listed = alternatives.filter((one) => one.logProb > -Infinity);
  const known = new Map(listed.map((one) => [one.id, one.logProb]));
  const top = listed.length > ALTERNATIVES ? listed.filter((one) => one.id !== own) : listed;
  // Tokens of probability zero are not listed, so that a short list is all there is.
  const isWhole = listed.length < ALTERNATIVES || known.size >= vocabSize;
  return new Row(known, isWhole ? 0 : vocabSize - known.size, top.at(-1).logProb);
}

// The tokens of a choice of a scoring request (requests.js), in order: {index, id, text, logProb, rank, entropy,
// alternatives, row}. The first token of a prompt has no log-prob, rank, entropy, alternatives or row: they are null.
export function scoredTokens(choice, vocabSize) {
  const ids = choice.prompt_token_ids;
  // A BOS that the server added stands in the ids only.
  const added = ids.length - choice.logprobs.tokens.length;
  return ids.map((id, index) => {
    const entry = choice.prompt_logprobs[index];
    const alternatives = entry && alternativesOf(entry);
    const own = alternatives?.find((one) => one.id === id);
    return {
      index,
      id,
      text: index < added ? `token_id:${id}` : choice.logprobs.tokens[index - added],
      logProb: own ? own.logProb : null,
      rank: choice.logitd.prompt.ranks[index],
      entropy: choice.logitd.prompt.entropies[index],
      alternatives,
      row: alternatives && rowOf(alternatives, id, vocabSize),
    };
  });
}

const utf8Length = (text) => new TextEncoder().encode(text).length;

// The first token that has a byte of what follows `context` in `whole`, as Score's rule "joint" has it. `choice` is that
// of a scoring request for `whole`. Null: the tokens do not spell the text, because the tokenizer changes it.
export function firstTokenAfter(context, whole, choice) {
  const texts = choice.logprobs.tokens;
  const added = choice.prompt_token_ids.length - texts.length;
  const lengths = texts.map(byteLength);
  // -1: SentencePiece puts a space before a text.
  let end = utf8Length(whole) - lengths.reduce((a, b) => a + b, 0);
  if (end !== 0 && end !== -1) return null;
  const begin = utf8Length(context);
  for (let i = 0; i < texts.length; ++i) {
    end += lengths[i];
    if (end > begin) return added + i;
  }
  return null;
}

// Classes of likelihood, from 0 (expected) to 6; the page's legend has the same bounds.
const BOUNDS = [0.5, 0.2, 0.05, 0.01, 0.001, 0.0001];

export function levelOf(logProb) {
  const probability = Math.exp(logProb);
  const level = BOUNDS.findIndex((bound) => probability >= bound);
  return level === -1 ? BOUNDS.length : level;
}

const MINUS = "\u2212";

export function formatNats(value, digits = 4) {
  if (value === null) return "none";
  if (!Number.isFinite(value)) return value < 0 ? `${MINUS}∞` : "∞";
  // No "-0.0000".
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

export function formatProbability(value) {
  if (value === 0 || value === 1) return `${value * 100} %`;
  if (value >= 0.0001 && value < 0.99995) return `${(value * 100).toPrecision(value < 0.1 ? 3 : 4)} %`;
  if (value >= 0.99995) return `${(value * 100).toFixed(4)} %`;
  return `${(value * 100).toExponential(1).replace("e-", `e${MINUS}`)} %`;
}
