// Candidates side by side: texts after the same prompt, their tokens with running sums, and where they part.

import { complete } from "./api.js";
import { compensatedSum } from "./distribution.js";
import { bodyText, scoring } from "./requests.js";
import { firstTokenAfter, formatNats, formatProbability, levelOf, scoredTokens } from "./scored_tokens.js";
import { show } from "./visible_text.js";

const byId = (id) => document.getElementById(id);

function element(name, className, ...children) {
  const out = document.createElement(name);
  if (className) out.className = className;
  out.append(...children);
  return out;
}

function number(value, digits) {
  const data = element("data", "");
  data.value = String(value);
  data.textContent = formatNats(value, digits);
  return data;
}

function quoted(text) {
  const out = element("q", "spelling");
  show(text, out);
  return out;
}

// The number of leading tokens that two candidates share.
function sharedCount(a, b) {
  let count = 0;
  while (count < Math.min(a.length, b.length) && a[count].id === b[count].id) ++count;
  return count;
}

// The scored candidates, the most likely first; of equal ones the earlier. Throws an Error for a person.
export function candidatesOf(prompt, texts, choices, vocabSize) {
  const candidates = texts.map((text, i) => {
    const choice = choices.find((one) => one.index === i);
    const begin = firstTokenAfter(prompt, prompt + text, choice);
    if (begin === null) {
      throw new Error(`The tokenizer changes the text of candidate ${i + 1}: its first token cannot be told.`);
    }
    const tokens = scoredTokens(choice, vocabSize).slice(begin);
    if (tokens[0].logProb === null) {
      throw new Error(`Candidate ${i + 1} begins with the first token of the text, which has no log-prob: enter a prompt.`);
    }
    const sums = tokens.map((_, end) => compensatedSum(tokens.slice(0, end + 1).map((token) => token.logProb)));
    return { text, place: i, tokens, sums, sum: sums.at(-1) };
  });
  candidates.sort((a, b) => b.sum - a.sum || a.place - b.place);
  const [best, ...others] = candidates;
  for (const other of others) other.parting = sharedCount(best.tokens, other.tokens);
  // The best one parts where its closest companion leaves it.
  best.parting = others.length ? Math.max(...others.map((other) => other.parting)) : best.tokens.length;
  return candidates;
}

// a - b, also where both are -Infinity.
const difference = (a, b) => (a === b ? 0 : a - b);

function tokenLine(candidate, i) {
  const token = candidate.tokens[i];
  const line = element("tr", i < candidate.parting ? "shared" : "");
  line.dataset.id = token.id;
  const text = element("td", "text", element("span", "spelling"));
  show(token.text, text.firstChild);
  text.firstChild.dataset.level = levelOf(token.logProb);
  const cells = [element("td", "log-prob", number(token.logProb, 3)), element("td", "sum", number(candidate.sums[i], 3))];
  line.append(text, ...cells);
  return line;
}

function card(candidate, rank, best) {
  const out = element("article", "candidate");
  out.dataset.place = candidate.place;
  const title = element("h3", "");
  title.append(element("span", "rank", `${rank}`), quoted(candidate.text));
  const facts = element("p", "facts");
  facts.append("sum ", number(candidate.sum, 4), ", per token ", number(candidate.sum / candidate.tokens.length, 4));
  if (candidate !== best) facts.append(", behind by ", number(difference(best.sum, candidate.sum), 4));
  const head = element("tr", "");
  for (const name of ["token", "log-prob", "sum"]) {
    const cell = element("th", name === "token" ? "text" : "", name);
    cell.scope = "col";
    head.append(cell);
  }
  const lines = candidate.tokens.map((_, i) => tokenLine(candidate, i));
  if (candidate.parting < lines.length) {
    const border = element("td", "", "parts here");
    border.colSpan = 3;
    lines.splice(candidate.parting, 0, element("tr", "parting", border));
  }
  out.append(title, facts, element("table", "", element("thead", "", head), element("tbody", "", ...lines)));
  return out;
}

// One sentence about the best two.
function summary([best, second]) {
  const out = element("p", "parting-summary");
  if (!second) return out;
  const { parting } = second;
  out.dataset.parting = parting;
  const lead = difference(best.sum, second.sum);
  out.append(quoted(best.text), ` leads by ${formatNats(lead)} nats: `, quoted(second.text),
    ` is ${formatProbability(Math.exp(-lead))} as likely. `);
  const [a, b] = [best.tokens[parting], second.tokens[parting]];
  if (a && b) {
    out.append(`They part at token ${parting + 1}: `, quoted(a.text), ` ${formatNats(a.logProb, 3)} against `,
      quoted(b.text), ` ${formatNats(b.logProb, 3)}.`);
  } else if (a || b) {
    out.append(`One goes on where the other ends, after token ${parting}.`);
  } else {
    out.append("Their tokens are the same.");
  }
  return out;
}

export class Candidates {
  // `facts()`: {model, vocabSize, prompt} of the page now. `run(work)`: see inspector.js.
  constructor({ facts, run }) {
    this.facts = facts;
    byId("add-candidate").addEventListener("click", () => this.#addInput("").focus());
    byId("candidates-form").addEventListener("submit", (event) => {
      event.preventDefault();
      run((signal) => this.#compare(signal));
    });
    this.#addInput("");
    this.#addInput("");
  }

  // Puts a text into the first input that is empty, or into a new one.
  add(text) {
    const empty = this.#inputs().find((input) => input.value === "");
    (empty ?? this.#addInput("")).value = text;
  }

  // The request that the button Compare sends.
  body() {
    const { model, prompt } = this.facts();
    return scoring({ model, prompt: this.#texts().map((text) => prompt + text) });
  }

  #inputs() {
    return [...byId("candidates").querySelectorAll("textarea")];
  }

  #texts() {
    return this.#inputs().map((input) => input.value).filter((text) => text !== "");
  }

  #addInput(text) {
    const input = element("textarea", "");
    input.rows = 1;
    input.value = text;
    input.spellcheck = false;
    const remove = element("button", "quiet", "Remove");
    remove.type = "button";
    const item = element("li", "", input, remove);
    remove.addEventListener("click", () => {
      item.remove();
      this.#number();
    });
    byId("candidates").append(item);
    this.#number();
    return input;
  }

  #number() {
    for (const [i, input] of this.#inputs().entries()) {
      input.setAttribute("aria-label", `candidate ${i + 1}`);
      input.nextSibling.setAttribute("aria-label", `remove candidate ${i + 1}`);
    }
  }

  async #compare(signal) {
    const { prompt, vocabSize } = this.facts();
    const texts = this.#texts();
    if (texts.length === 0) throw new Error("Enter at least one candidate.");
    const reply = await complete(bodyText(this.body()), signal);
    const candidates = candidatesOf(prompt, texts, reply.choices, vocabSize);
    const cards = candidates.map((candidate, i) => card(candidate, i + 1, candidates[0]));
    byId("comparison").replaceChildren(summary(candidates), element("div", "cards", ...cards));
    return `${candidates.length} candidates compared`;
  }
}
