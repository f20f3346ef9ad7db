// Rows of one text's tokens, fetched when they are looked at and then kept.

import { complete } from "./api.js";
import { Row } from "./distribution.js";
import { bodyText, draw, row } from "./requests.js";

const idOf = (name) => Number(name.slice("token_id:".length));

export class RowCache {
  // `tokens`: as scoredTokens returns them.
  constructor({ model, vocabSize, maxTopN, tokens }) {
    this.model = model;
    this.vocabSize = vocabSize;
    this.count = Math.min(vocabSize, maxTopN);
    this.tokens = tokens;
    this.pending = new Map();
    this.abort = new AbortController();
  }

  // Whether a row holds every token of the vocabulary.
  get isExact() {
    return this.count === this.vocabSize;
  }

  close() {
    this.abort.abort();
  }

  // The row from which the token at `index` was chosen: as many of its tokens as the server lists.
  row(index) {
    return this.#once(`row ${index}`, async () => {
      const body = row({ model: this.model, ids: this.#idsBefore(index), count: this.count });
      const reply = await complete(bodyText(body), this.abort.signal);
      const top = Object.entries(reply.choices[0].logprobs.top_logprobs[0]);
      const known = new Map(top.map(([name, logProb]) => [idOf(name), logProb]));
      // Tokens of probability zero are not listed, so that a shorter list is all there is.
      const isWhole = this.isExact || top.length < this.count;
      const token = this.tokens[index];
      if (!known.has(token.id) && token.logProb > -Infinity) known.set(token.id, token.logProb);
      return new Row(known, isWhole ? 0 : this.vocabSize - known.size, top.at(-1)[1]);
    });
  }

  // {logProb, samplingLogProb} of one token of that row, the second at `temperature`. They are exact for every size of
  // vocabulary: their difference is the same function of the row for each token.
  reference(index, temperature) {
    return this.#once(`reference ${index} ${temperature}`, async () => {
      const body = draw({ model: this.model, ids: this.#idsBefore(index), temperature });
      const { choices: [choice] } = await complete(bodyText(body), this.abort.signal);
      return { logProb: choice.logprobs.token_logprobs[0], samplingLogProb: choice.logitd.sampling_log_probs[0] };
    });
  }

  #idsBefore(index) {
    return this.tokens.slice(0, index).map((token) => token.id);
  }

  #once(key, fetchIt) {
    if (!this.pending.has(key)) {
      const promise = fetchIt();
      // Asked again, it is tried again.
      promise.catch(() => this.pending.delete(key));
      this.pending.set(key, promise);
    }
    return this.pending.get(key);
  }
}
