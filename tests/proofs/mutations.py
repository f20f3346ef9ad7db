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
    Mutation("the draw's interval in a list is closed at its end", "core/kept_tokens.cc",
             "if (r - before < weights[i]) return {list_.ids()[i]",
             "if (r - before <= weights[i]) return {list_.ids()[i]"),
    Mutation("the draw's interval in a row is closed at its end", "core/kept_tokens.cc",
             "if (r - before < weights[i]) return {token_id,", "if (r - before <= weights[i]) return {token_id,"),
    Mutation("the draw skips a block whose sum it reaches", "core/kept_tokens.cc",
             "while (r - before >= block_sums_[block])", "while (r - before > block_sums_[block])"),
    Mutation("the draw looks at tokens that are not kept", "core/kept_tokens.cc",
             "    if (!Contains(token_id)) continue;\n    if (r - before", "    if (r - before"),
    Mutation("the draw is one above", "core/kept_tokens.cc",
             "static_cast<unsigned __int128>(uniform) * total_weight_) >> 64);",
             "static_cast<unsigned __int128>(uniform) * total_weight_) >> 64) + 1;"),
    Mutation("the uniform has the 24 bits of a float", "core/random_stream.cc",
             "return (uint64_t{block[1]} << 32) | block[0];", "return uint64_t{block[1] >> 8} << 40;"),
    Mutation("the uniform's halves are exchanged", "core/random_stream.cc",
             "return (uint64_t{block[1]} << 32) | block[0];", "return (uint64_t{block[0]} << 32) | block[1];"),
    Mutation("Philox has nine rounds", "core/random_stream.cc", "kRounds = 10", "kRounds = 9"),
    Mutation("sequence keys run into purposes", "core/random_stream.cc", "(sequence_key << 8)", "(sequence_key << 7)"),
    # Weights and what is said of them.
    Mutation("the first token of a list is drawn 0.1 % too often", "core/token_list.cc",
             "  return kernels::ActiveKernels().weigh(logits_.data(), size_, max, constants, weights_.data());",
             "  const uint64_t sum =\n"
             "      kernels::ActiveKernels().weigh(logits_.data(), size_, max, constants, weights_.data());\n"
             "  const uint64_t extra = size_ == 0 ? 0 : weights_[0] / 1000;\n"
             "  if (extra > 0) weights_[0] += extra;\n"
             "  return sum + extra;"),
    Mutation("the total of a row is 0.1 % too large", "core/kept_tokens.cc",
             "  total_weight_ = total_weight;\n", "  total_weight_ = total_weight + total_weight / 1000;\n"),
    Mutation("a coefficient of the exponential is one unit off", "core/kernels/exponential.h",
             "0x1.62e430p-1f", "0x1.62e432p-1f"),
    Mutation("the vectors' exponential has no low part of 1 / T", "core/kernels/weights-inl.h",
             "f = hn::MulAdd(difference, v.scale_low, f);", "(void)v.scale_low;"),
    Mutation("log-probs have the temperature twice", "core/kept_tokens.cc",
             "static_cast<double>(max_)) / temperature_ - log_total();",
             "static_cast<double>(max_)) / temperature_ / temperature_ - log_total();"),
    Mutation("a new temperature keeps the old sums", "core/kept_tokens.cc",
             "  constants_ = kernels::ExpConstants(temperature);\n  is_summed_ = false;",
             "  constants_ = kernels::ExpConstants(temperature);"),
    Mutation("the weights stay relative to a maximum that is gone", "core/kept_tokens.cc",
             "  is_summed_ = false;\n  Rescan();", "  is_summed_ = false;"),
    Mutation("the vectors' entropy is positive where it is negative", "core/kernels/weights-inl.h",
             "hn::Mul(hn::Neg(difference), v.inverse)", "hn::Mul(difference, v.inverse)"),
    Mutation("a coefficient of the logarithm is wrong", "core/exact_math.cc", "2.0 / 11,", "2.0 / 10,"),
    # The scan, and rows that are widened.
    Mutation("the later of equal blocks has the argmax", "core/kernels/scan-inl.h",
             "if (found.max > scan.max) {", "if (found.max >= scan.max) {"),
    Mutation("a NaN hides behind what follows it", "core/kernels/scan-inl.h",
             "legal = hn::And(legal, hn::Lt(hn::LoadU(d, logits + i), infinity));",
             "legal = hn::Lt(hn::LoadU(d, logits + i), infinity);"),
    Mutation("ties have the worst rank", "core/kernels/scan-inl.h",
             "hn::Gt(LoadLogits<false>(word_logits, i, word), bound)",
             "hn::Ge(LoadLogits<false>(word_logits, i, word), bound)"),
    Mutation("a rank ignores the mask", "core/kernels/scan-inl.h",
             "hn::Gt(LoadLogits<true>(word_logits, i, word), bound)",
             "hn::Gt(LoadLogits<false>(word_logits, i, word), bound)"),
    Mutation("the vectors' LIN16 is rounded twice", "core/kernels/widen-inl.h",
             "hn::NegMulAdd(hn::ConvertTo(d, q), hn::Set(d, step), hn::Set(d, max));",
             "hn::Sub(hn::Set(d, max), hn::Mul(hn::ConvertTo(d, q), hn::Set(d, step)));"),
    Mutation("the scalar LIN16 is rounded twice", "core/kernels/scalar_kernels.cc",
             "std::fma(-static_cast<float>(q), linear_step, linear_max)",
             "linear_max - static_cast<float>(q) * linear_step"),
    # Truncation.
    Mutation("top-p's mass is rounded down", "core/truncation.cc",
             "return product.floor + product.has_rest;", "return product.floor;"),
    Mutation("a mass that is exceeded may be reached", "core/truncation.cc",
             "Multiply(total_weight, p).floor + 1;", "Multiply(total_weight, p).floor;"),
    Mutation("min-p is exclusive", "core/truncation.cc", "- row_max >= bound;", "- row_max > bound;"),
    Mutation("epsilon has no ln Z", "core/truncation.cc",
             "kept.temperature() * (log_prob + kept.log_total())", "kept.temperature() * log_prob"),
    Mutation("eta's second bound is without the entropy", "core/truncation.cc",
             "0.5 * log_eta - kept.Entropy()", "0.5 * log_eta"),
    Mutation("sigma divides by N - 1", "core/truncation.cc",
             "static_cast<double>(difference) / (size * size)",
             "static_cast<double>(difference) / (size * std::max(size - 1, 1.0))"),
    Mutation("sigma's scale is not the one of its sums", "core/truncation.cc",
             "std::ldexp(1.0f, kernels::kSpreadBits - exponent);",
             "std::ldexp(1.0f, kernels::kSpreadBits - exponent - 9);"),
    Mutation("typical's distance is from zero", "core/truncation.cc",
             "/ kept.temperature()) - entropy);", "/ kept.temperature()));"),
    Mutation("typical's distance has a sign", "core/truncation.cc",
             "const double distance = std::abs((log_total", "const double distance = ((log_total"),
    Mutation("typical must exceed its target", "core/truncation.cc",
             "if (mass >= target) {\n      end = middle;", "if (mass > target) {\n      end = middle;"),
    Mutation("XTC takes the last choice out too", "core/truncation.cc",
             "    if (token_id != UnpackToken(last).token_id) space.removed.push_back(token_id);",
             "    space.removed.push_back(token_id);"),
    Mutation("XTC keeps the first of its choices", "core/truncation.cc",
             "last = std::max(last, PackToken(choices",
             "last = std::min(i == 0 ? ~uint64_t{0} : last, PackToken(choices"),
    Mutation("XTC does not act on two choices", "core/truncation.cc",
             "if (choices.size() < 2) return;", "if (choices.size() < 3) return;"),
    Mutation("XTC acts at its very probability", "core/distribution.cc",
             "if (u < params.xtc.probability)", "if (u <= params.xtc.probability)"),
    # The search for a cut.
    Mutation("a prefix must exceed its target", "core/prefix_search.cc",
             "if (before >= target) {\n      end = middle;", "if (before > target) {\n      end = middle;"),
    Mutation("a cut in a run of ties is one token late", "core/prefix_search.cc",
             "(target - above.mass + mass - 1) / mass;", "(target - above.mass + mass - 1) / mass + 1;"),
    Mutation("what is above the sample's guess has its own logit too", "core/prefix_search.cc",
             "    Above above = SumAbove(highest);\n", "    Above above = SumAbove(NextBelow(highest));\n"),
    Mutation("the sample's bracket loses its lowest logit", "core/prefix_search.cc",
             "      list_.Collect(tokens_.row, tokens_.mask, tokens_.block_max, lowest, highest);\n",
             "      list_.Collect(tokens_.row, tokens_.mask, tokens_.block_max, NextAbove(lowest), highest);\n"),
    Mutation("the block sums have what the cut removed", "core/prefix_search.cc",
             "list_.weights()[i] & -static_cast<uint64_t>(cut.Keeps(list_.logits()[i], ids[i]));",
             "list_.weights()[i];"),
    Mutation("the block sums are those of the list alone", "core/prefix_search.cc",
             "block_sums_[static_cast<size_t>(block)] += sum;", "block_sums_[static_cast<size_t>(block)] = sum;"),
    Mutation("block sums are known where they are not", "core/prefix_search.cc",
             "prefix->has_block_sums = is_top && weighed;", "prefix->has_block_sums = weighed;"),
    # Cuts.
    Mutation("a settled cut leaves what ties with its last token", "core/kept_tokens.cc",
             "    if (token_id <= cut_.token_id) continue;\n", "    if (token_id <= cut_.token_id + 1) continue;\n"),
    Mutation("a cut ignores an earlier one", "core/kept_tokens.cc",
             "if (has_cut_ && !(cut_.Keeps(cut.logit, cut.token_id))) return;", "if (false) return;"),
    Mutation("a list leaves out the block after that of its last token", "core/kept_tokens.cc",
             "std::max(lowest, NextAbove(cut_.logit)), kLargest, tie_end);",
             "std::max(lowest, NextAbove(cut_.logit)), kLargest, tie_end + kernels::kBlockSize);"),
    Mutation("what is between is with the cut's ties", "core/kept_tokens.cc",
             "  if (!is_list_) SettleCut();\n  between_.Clear();",
             "  between_.Clear();\n  if (!is_list_) SettleCut();"),
    Mutation("the vectors' cut drops its own logit", "core/kernels/select-inl.h",
             "inside |= BitsOfMask(d, hn::And(hn::Ge(values, lower)",
             "inside |= BitsOfMask(d, hn::And(hn::Gt(values, lower)"),
    Mutation("the vectors' sum between has its bound", "core/kernels/weights-inl.h",
             "hn::And(hn::Gt(x, lower), hn::Lt(x, upper));", "hn::And(hn::Ge(x, lower), hn::Lt(x, upper));"),
    # Sums.
    Mutation("half of the compensation is missing", "core/compensated_sum.h",
             "compensation += (term - next) + sum;", "compensation += 0;"),
)
