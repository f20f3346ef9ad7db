"""The faults that the tests must notice: one line of core/ each, and why somebody might write it.

`before` occurs exactly once in the file; mutation_check.py says so at every run of the tests if it no longer does. When
core changes, move the anchor to where the same fault could be made now.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutation:
    name: str
    file: str
    before: str
    after: str


MUTATIONS = (
    # The draw.
    Mutation("the draw's interval is closed at its end", "core/sampler.cc",
             "if (r - before < weights[i])", "if (r - before <= weights[i])"),
    Mutation("a block of the draw is one token short", "core/sampler.cc",
             "std::min(weights.size(), start + kBlock)", "std::min(weights.size(), start + kBlock - 1)"),
    Mutation("the draw is one above", "core/sampler.cc",
             "distribution.total_weight()) >> 64);", "distribution.total_weight()) >> 64) + 1;"),
    Mutation("the uniform has the 24 bits of a float", "core/random_stream.cc",
             "return (uint64_t{block[1]} << 32) | block[0];", "return uint64_t{block[1] >> 8} << 40;"),
    Mutation("the uniform's halves are exchanged", "core/random_stream.cc",
             "return (uint64_t{block[1]} << 32) | block[0];", "return (uint64_t{block[0]} << 32) | block[1];"),
    Mutation("Philox has nine rounds", "core/random_stream.cc", "kRounds = 10", "kRounds = 9"),
    Mutation("sequence keys run into purposes", "core/random_stream.cc", "(sequence_key << 8)", "(sequence_key << 7)"),
    # Weights.
    Mutation("one token in each row is drawn 0.1 % too often", "core/distribution.cc",
             "  log_total_ = LogOfWeight(total_weight_);\n  has_weights_ = true;\n",
             "  total_weight_ += weights_[row.size() / 2] / 1000;\n"
             "  weights_[row.size() / 2] += weights_[row.size() / 2] / 1000;\n"
             "  log_total_ = LogOfWeight(total_weight_);\n  has_weights_ = true;\n"),
    Mutation("a coefficient of the exponential is one unit off", "core/kernels/exponential.h",
             "0x1.62e430p-1f", "0x1.62e432p-1f"),
    Mutation("the vectors' exponential has no low part of 1 / T", "core/kernels/weights-inl.h",
             "f = hn::MulAdd(difference, v.scale_low, f);", "(void)v.scale_low;"),
    Mutation("log-probs have the temperature twice", "core/distribution.cc",
             "- static_cast<double>(max_)) / temperature_ - log_total_",
             "- static_cast<double>(max_)) / temperature_ / temperature_ - log_total_"),
    Mutation("a coefficient of the logarithm is wrong", "core/exact_math.cc", "2.0 / 11,", "2.0 / 10,"),
    # The scan.
    Mutation("the later of equal blocks has the argmax", "core/kernels/scan-inl.h",
             "if (found.max > scan.max) {", "if (found.max >= scan.max) {"),
    Mutation("a NaN hides behind what follows it", "core/kernels/scan-inl.h",
             "legal = hn::And(legal, hn::Lt(hn::LoadU(d, logits + i), infinity));",
             "legal = hn::Lt(hn::LoadU(d, logits + i), infinity);"),
    Mutation("ties have the worst rank", "core/kernels/scan-inl.h",
             "hn::Gt(hn::LoadU(d, word_logits + i), bound)", "hn::Ge(hn::LoadU(d, word_logits + i), bound)"),
    # Truncation.
    Mutation("top-p's mass is rounded down", "core/truncation.cc",
             " + ((floor << shift) != product);", ";"),
    Mutation("a prefix must exceed its target", "core/prefix_search.cc",
             "if (mass >= target) {\n      end = middle;", "if (mass > target) {\n      end = middle;"),
    Mutation("a cut in a run of ties is one token late", "core/prefix_search.cc",
             "(target - above - 1) / Mass(ids_[0])", "(target - above) / Mass(ids_[0])"),
    Mutation("min-p is exclusive", "core/truncation.cc", "- max >= bound;", "- max > bound;"),
    Mutation("the vectors' cut drops its own token", "core/kernels/select-inl.h",
             "tie_end = static_cast<size_t>(cut_id) + 1;", "tie_end = static_cast<size_t>(cut_id);"),
    # Sums.
    Mutation("half of the compensation is missing", "core/compensated_sum.h",
             "compensation += (term - next) + sum;", "compensation += 0;"),
)
