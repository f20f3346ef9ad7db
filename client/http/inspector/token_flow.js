// The tokens of a text, one button each: coloured by log-prob, walked with the arrow keys.

import { formatNats, levelOf } from "./scored_tokens.js";
import { show, spelled } from "./visible_text.js";

function labelOf(token, isPrompt) {
  const part = isPrompt ? "prompt" : "completion";
  const numbers = token.logProb === null ? "no log-prob" : `log-prob ${formatNats(token.logProb)}, rank ${token.rank}`;
  return `${spelled(token.text)}, ${part}, ${numbers}`;
}

function buttonOf(token, isPrompt) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = isPrompt ? "token prompt-token" : "token";
  button.dataset.index = token.index;
  button.dataset.level = token.logProb === null ? "none" : levelOf(token.logProb);
  if (token.rank > 1) button.classList.add("not-first");
  button.tabIndex = -1;
  button.setAttribute("aria-label", labelOf(token, isPrompt));
  show(token.text, button);
  return button;
}

export class TokenFlow {
  // `onSelect(index)`: a token was clicked or focused. `onPeek(index or null)`: the pointer is over a token, or over none.
  constructor(root, { onSelect, onPeek }) {
    this.root = root;
    this.onSelect = onSelect;
    this.buttons = [];
    this.selected = -1;
    root.addEventListener("click", (event) => this.#choose(event, true));
    root.addEventListener("focusin", (event) => this.#choose(event, false));
    root.addEventListener("pointerover", (event) => {
      if (event.pointerType === "mouse") onPeek(this.#indexOf(event.target));
    });
    root.addEventListener("pointerleave", () => onPeek(null));
    root.addEventListener("keydown", (event) => this.#walk(event));
  }

  // The first `promptCount` tokens are the prompt's.
  render(tokens, promptCount) {
    this.buttons = tokens.map((token) => buttonOf(token, token.index < promptCount));
    this.selected = -1;
    const parts = [];
    for (const [i, button] of this.buttons.entries()) {
      if (i === promptCount && i > 0) parts.push(this.#border());
      parts.push(button);
      if (tokens[i].text.includes("\n")) parts.push(document.createElement("br"));
    }
    this.root.replaceChildren(...parts);
  }

  select(index) {
    this.buttons[this.selected]?.removeAttribute("aria-current");
    for (const button of [this.buttons[this.selected], this.buttons[0]]) if (button) button.tabIndex = -1;
    this.selected = index;
    const button = this.buttons[index];
    if (!button) return;
    button.setAttribute("aria-current", "true");
    button.tabIndex = 0;
    this.onSelect(index);
  }

  #border() {
    const border = document.createElement("span");
    border.className = "border";
    border.setAttribute("aria-hidden", "true");
    return border;
  }

  #indexOf(target) {
    const button = target.closest?.("button[data-index]");
    return button ? Number(button.dataset.index) : null;
  }

  #choose(event, focuses) {
    const index = this.#indexOf(event.target);
    if (index === null) return;
    // Some browsers do not focus a button that is clicked.
    if (focuses) this.buttons[index].focus();
    if (index !== this.selected) this.select(index);
  }

  #walk(event) {
    const last = this.buttons.length - 1;
    const to = {
      ArrowRight: this.selected + 1,
      ArrowLeft: this.selected - 1,
      ArrowDown: this.#lineBeside(1),
      ArrowUp: this.#lineBeside(-1),
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.buttons[Math.min(Math.max(to, 0), last)]?.focus();
  }

  // The nearest token of the line below (1) or above (-1); the selected one if there is none.
  #lineBeside(direction) {
    const own = this.buttons[this.selected]?.getBoundingClientRect();
    if (!own) return 0;
    let best = this.selected;
    let line = null;
    let least = Infinity;
    for (let i = this.selected + direction; i >= 0 && i < this.buttons.length; i += direction) {
      const box = this.buttons[i].getBoundingClientRect();
      if (Math.abs(box.top - own.top) < own.height / 2) continue;
      line ??= box.top;
      if (Math.abs(box.top - line) > own.height / 2) break;
      const distance = Math.abs(box.left + box.right - own.left - own.right);
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  }
}
