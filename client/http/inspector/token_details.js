// One token: its numbers, its alternatives, and their probabilities at the temperature of the slider.

import { formatNats, formatProbability } from "./scored_tokens.js";
import { show } from "./visible_text.js";

// The server is asked for exact numbers when the slider has rested this long.
const REST_MS = 250;

const byId = (id) => document.getElementById(id);

// Writes a number, or the range that it lies in, with all its digits in the element's attributes.
function write(element, { low, high }, format) {
  const shortLow = format(low);
  const shortHigh = format(high);
  const data = document.createElement("data");
  data.value = String(low);
  if (low !== high) data.dataset.high = String(high);
  data.textContent = shortLow === shortHigh ? shortLow : `${shortLow} – ${shortHigh}`;
  element.replaceChildren(data);
}

const single = (value) => ({ low: value, high: value });

export class TokenDetails {
  // `onError(error)`: a row could not be fetched.
  constructor({ onError }) {
    this.onError = onError;
    this.cache = null;
    this.token = null;
    this.row = null;
    this.temperature = 1;
    this.reference = null;
    this.timer = 0;
    byId("slider").addEventListener("input", () => this.#setTemperature(byId("slider").valueAsNumber, "slider"));
    byId("view-temperature").addEventListener("input", () => {
      const value = byId("view-temperature").valueAsNumber;
      const isValid = value === 0 || (value >= 1e-4 && value <= 1e6);
      byId("view-temperature").setAttribute("aria-invalid", String(!isValid));
      if (isValid) this.#setTemperature(value, "view-temperature");
    });
    byId("reset-temperature").addEventListener("click", () => this.#setTemperature(1, ""));
  }

  // `cache`: a RowCache, or null.
  setCache(cache) {
    clearTimeout(this.timer);
    this.cache?.close();
    this.cache = cache;
    this.token = null;
    byId("details").hidden = true;
    byId("no-token").hidden = false;
  }

  // `isPeek`: the pointer is only passing: nothing is fetched.
  show(token, { isPeek = false } = {}) {
    this.token = token;
    this.row = token.row;
    this.reference = null;
    this.isPeek = isPeek;
    byId("details").hidden = false;
    byId("no-token").hidden = true;
    byId("details").classList.toggle("peek", isPeek);
    this.#writeFacts();
    this.#update();
  }

  #writeFacts() {
    const { token } = this;
    byId("token-text").replaceChildren();
    show(token.text, byId("token-text"));
    byId("token-id").textContent = token.id;
    byId("token-position").textContent = token.index;
    const has = token.logProb !== null;
    byId("first-token").hidden = has;
    byId("distribution").hidden = !has;
    for (const id of ["token-log-prob", "token-probability", "token-rank", "token-entropy"]) byId(id).textContent = "–";
    if (!has) return;
    write(byId("token-log-prob"), single(token.logProb), formatNats);
    write(byId("token-probability"), single(Math.exp(token.logProb)), formatProbability);
    if (token.rank !== null) write(byId("token-rank"), single(token.rank), String);
    if (token.entropy !== null) write(byId("token-entropy"), single(token.entropy), formatNats);
  }

  #setTemperature(value, source) {
    if (!Number.isFinite(value)) return;
    this.temperature = value;
    this.reference = null;
    if (source !== "slider") byId("slider").value = String(value);
    if (source !== "view-temperature") {
      byId("view-temperature").value = String(value);
      byId("view-temperature").setAttribute("aria-invalid", "false");
    }
    byId("slider").setAttribute("aria-valuetext", `temperature ${value}`);
    if (this.token) this.#update();
  }

  // Shows what is known, then asks for what is missing.
  #update() {
    this.#render();
    clearTimeout(this.timer);
    if (this.isPeek || this.#isExact()) return;
    const { token, temperature, cache } = this;
    const isCurrent = () => token === this.token && temperature === this.temperature && cache === this.cache && !this.isPeek;
    const fetchMissing = async () => {
      try {
        if (this.row === token.row) {
          const row = await cache.row(token.index);
          if (!isCurrent()) return;
          this.row = row;
          this.#render();
        }
        if (this.#isExact()) return;
        const reference = await cache.reference(token.index, temperature);
        if (!isCurrent()) return;
        this.reference = reference;
        this.#render();
      } catch (failure) {
        if (failure.name !== "AbortError") this.onError(failure);
      }
    };
    // A whole row serves every temperature: no wait.
    if (cache.isExact) {
      fetchMissing();
    } else {
      this.timer = setTimeout(fetchMissing, REST_MS);
    }
  }

  #isExact() {
    return this.token.logProb === null || this.temperature === 0 || this.temperature === 1 || this.row.isWhole ||
      this.reference !== null;
  }

  #render() {
    const { token, row, temperature } = this;
    if (token.logProb === null) return;
    // A token that is in no list stands in the page with the log-prob that its text was scored with.
    const at = (id) => row.known.has(id) ? row.logProbAt(id, temperature, this.reference) : single(-Infinity);
    const lines = token.alternatives.map((one) => this.#line(one, at(one.id)));
    byId("alternatives").replaceChildren(...lines);
    const entropy = temperature === 1 ? token.entropy : row.entropyAt(temperature);
    byId("entropy-at").hidden = entropy === null;
    if (entropy !== null) write(byId("entropy-at-value"), single(entropy), formatNats);
    byId("details").dataset.state = this.#isExact() ? "exact" : "bounds";
    byId("exactness").textContent = this.#exactness();
  }

  #exactness() {
    const { row, temperature, cache } = this;
    const size = cache.vocabSize.toLocaleString("en");
    if (temperature === 1) return "The model's own probabilities, over the whole vocabulary.";
    if (temperature === 0) return "Temperature 0: the most likely token alone; of equal ones the lowest id.";
    if (row.isWhole) return `Exact: renormalised over all ${size} tokens.`;
    if (this.reference) return `Exact: the server's normalisation over all ${size} tokens at this temperature.`;
    const known = row.known.size.toLocaleString("en");
    return `Bounds: ${known} of ${size} tokens are known; the others share ${formatProbability(row.hiddenMass)}` +
      ` at temperature 1. ${this.isPeek ? "Click the token for exact numbers." : "Exact numbers are on their way."}`;
  }

  #line(one, bounds) {
    const line = document.createElement("tr");
    line.dataset.id = one.id;
    if (one.id === this.token.id) line.className = "chosen";
    const cell = (name, fill) => {
      const element = document.createElement("td");
      element.className = name;
      fill(element);
      line.append(element);
    };
    cell("rank", (element) => { element.textContent = one.rank ?? ""; });
    cell("text", (element) => {
      const text = document.createElement("span");
      text.className = "spelling";
      show(one.text, text);
      element.append(text);
    });
    cell("id", (element) => { element.textContent = one.id; });
    const probability = { low: Math.exp(bounds.low), high: Math.exp(bounds.high) };
    cell("probability", (element) => {
      write(element, probability, formatProbability);
      element.style.setProperty("--low", probability.low);
      element.style.setProperty("--high", probability.high);
    });
    cell("log-prob", (element) => write(element, bounds, (value) => formatNats(value, 3)));
    return line;
  }
}
