// Probabilities of a row at a temperature, in doubles, from the log-probs at temperature 1.
//
//     p_i(T) = exp(l_i / T) / sum_j exp(l_j / T)          the row's own normalisation cancels
//
// If the whole row is known, this is exact. If only its n most likely tokens are, the rest of the sum is bounded: R tokens
// share the mass M = 1 - sum p_i, and each has at most q, the probability of the n-th. sum x^a over such x, a = 1 / T, is
//
//     largest where all are equal,        smallest where as few as possible have q:   T > 1, x^a is concave
//     smallest where all are equal,       largest where as few as possible have q:    T < 1, x^a is convex
//
// Example: p = 0.6, 0.3 are known, one token is not: M = 0.1, R = 1, and both bounds are the same number.

// The server's probabilities of a row sum to 1 up to 2e-7; what is left of 1 is uncertain by more than that.
const MASS_ERROR = 5e-7;

// Neumaier's sum of a list: the error does not grow with the number of terms.
export function compensatedSum(values) {
  if (values.includes(-Infinity)) return -Infinity;
  let sum = 0;
  let lost = 0;
  for (const value of values) {
    const next = sum + value;
    lost += Math.abs(sum) >= Math.abs(value) ? sum - next + value : value - next + sum;
    sum = next;
  }
  return sum + lost;
}

// x^a e^(-shift a), for x >= 0.
function power(x, a, shift) {
  return x > 0 ? Math.exp(a * (Math.log(x) - shift)) : 0;
}

// As few tokens as possible have `cap`, one has the remainder.
function concentrated(mass, cap, count, a, shift) {
  const full = Math.min(Math.floor(mass / cap), count);
  const remainder = full < count ? Math.max(0, mass - full * cap) : 0;
  return full * power(cap, a, shift) + power(remainder, a, shift);
}

function spread(mass, cap, count, a, shift) {
  return count * power(Math.min(mass / count, cap), a, shift);
}

// The log-probs of a row: `known` is a Map of ids and log-probs, the most likely tokens first. `hiddenCount`: tokens that
// may have a probability and are not known. `lowest`: none of them has a larger log-prob.
export class Row {
  constructor(known, hiddenCount, lowest) {
    this.known = known;
    this.hiddenCount = hiddenCount;
    this.lowest = lowest;
    const logProbs = [...known.values()];
    this.shift = logProbs.length ? logProbs.reduce((a, b) => Math.max(a, b)) : 0;
    this.hiddenMass = hiddenCount ? Math.max(0, 1 - compensatedSum(logProbs.map(Math.exp))) : 0;
  }

  get isWhole() {
    return this.hiddenCount === 0;
  }

  // {low, high} of ln sum_j exp(l_j / T), less shift / T.
  logSumBounds(temperature) {
    const a = 1 / temperature;
    const sum = compensatedSum([...this.known.values()].map((l) => Math.exp(a * (l - this.shift))));
    if (this.isWhole) return { low: Math.log(sum), high: Math.log(sum) };
    const cap = Math.exp(this.lowest);
    const least = Math.max(0, this.hiddenMass - MASS_ERROR);
    const most = Math.min(this.hiddenMass + MASS_ERROR, cap * this.hiddenCount);
    const args = [cap, this.hiddenCount, a, this.shift];
    const [low, high] = a < 1 ? [concentrated(least, ...args), spread(most, ...args)]
      : [spread(least, ...args), concentrated(most, ...args)];
    return { low: Math.log(sum + low), high: Math.log(sum + high) };
  }

  // The token of the largest logit; of several the one with the lowest id, as the server has it.
  get argmax() {
    let best = null;
    for (const [id, l] of this.known) {
      if (best === null || l > this.known.get(best) || (l === this.known.get(best) && id < best)) best = id;
    }
    return best;
  }

  // {low, high}: the log-prob of a known token at a temperature. `reference`: {logProb, samplingLogProb} of one token as
  // the server computed them at this temperature, which make the number exact; may be absent.
  logProbAt(id, temperature, reference) {
    const l = this.known.get(id);
    if (temperature === 1) return { low: l, high: l };
    if (temperature === 0) {
      const value = id === this.argmax ? 0 : -Infinity;
      return { low: value, high: value };
    }
    if (reference && !this.isWhole) {
      const value = reference.samplingLogProb + (l - reference.logProb) / temperature;
      return { low: value, high: value };
    }
    const bounds = this.logSumBounds(temperature);
    const own = (l - this.shift) / temperature;
    return { low: own - bounds.high, high: own - bounds.low };
  }

  // Entropy of the whole row at a temperature, nats. Null: the row is not whole.
  entropyAt(temperature) {
    if (!this.isWhole) return null;
    if (temperature === 0) return 0;
    const logSum = this.logSumBounds(temperature).low;
    return compensatedSum([...this.known.values()].map((l) => {
      const logProb = (l - this.shift) / temperature - logSum;
      return logProb === -Infinity ? 0 : -Math.exp(logProb) * logProb;
    }));
  }
}
