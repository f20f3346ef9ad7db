#include "server/handlers/boundary.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <utility>

namespace logitd::server {
namespace {

// The characters for which Python's str.isspace() is true: bidirectional type WS, B or S, or category Zs.
constexpr std::string_view kPythonSpaces[] = {
    "\t",           "\n",           "\v",           "\f",           "\r",
    "\x1C",         "\x1D",         "\x1E",         "\x1F",         " ",
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
    "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
    "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
    "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};

size_t CommonPrefix(const std::vector<TokenId>& a, const std::vector<TokenId>& b) {
  const auto ends = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<size_t>(ends.first - a.begin());
}

SharedTokens FirstOf(const std::vector<TokenId>& tokens, size_t count, const SharedTokens& alone) {
  const auto end = tokens.begin() + static_cast<ptrdiff_t>(count);
  if (std::equal(tokens.begin(), end, alone->begin(), alone->end())) return alone;
  return std::make_shared<const std::vector<TokenId>>(tokens.begin(), end);
}

std::vector<TokenId> From(const std::vector<TokenId>& tokens, size_t begin) {
  return {tokens.begin() + static_cast<ptrdiff_t>(std::min(begin, tokens.size())), tokens.end()};
}

}  // namespace

size_t StrippedSize(std::string_view context) {
  const auto ends_with_space = [&context] {
    for (const std::string_view space : kPythonSpaces) {
      if (context.ends_with(space)) return space.size();
    }
    return size_t{0};
  };
  while (const size_t size = ends_with_space()) context.remove_suffix(size);
  return context.size();
}

JoinedTokens CutJoint(const Spelling& spelling, std::string_view text, size_t context_bytes, const SharedTokens& alone,
                      const std::vector<TokenId>& joint) {
  JoinedTokens out;
  out.report.set_rule(v1::BOUNDARY_JOINT);
  size_t index = 0;
  if (const std::optional<TextCut> cut = spelling.Find(joint, text, context_bytes)) {
    index = cut->token_index;
    out.report.set_token_spans_boundary(cut->bytes_before > 0);
    out.report.set_spanning_bytes(static_cast<int32_t>(cut->bytes_before));
    out.report.set_text_changed(cut->has_inner_prefix);
  } else {
    index = CommonPrefix(*alone, joint);
    // One unknown token may stand for the end of the context and all of the continuation.
    if (index > 0 && index == joint.size() && spelling.IsUnspelled(joint.back())) --index;
    out.report.set_text_changed(spelling.is_known());
  }
  out.context = FirstOf(joint, index, alone);
  out.token_ids = From(joint, index);
  out.report.set_context_tokens_changed(*out.context != *alone);
  return out;
}

JoinedTokens CutAsLmEval(const Spelling& spelling, std::string_view text, size_t context_bytes,
                         const SharedTokens& alone, const std::vector<TokenId>& joint) {
  JoinedTokens out;
  out.report.set_rule(v1::BOUNDARY_LM_EVAL);
  out.context = alone;
  out.token_ids = From(joint, alone->size());
  const bool changed = CommonPrefix(*alone, joint) < alone->size();
  out.report.set_context_tokens_changed(changed);
  if (const std::optional<TextCut> cut = spelling.Find(joint, text, context_bytes); cut && cut->bytes_before > 0) {
    out.report.set_token_spans_boundary(true);
    const bool is_continuation = cut->token_index >= alone->size();
    out.report.set_spanning_bytes(static_cast<int32_t>(is_continuation ? cut->bytes_before : cut->bytes_after));
  }
  std::vector<TokenId> scored = *alone;
  scored.insert(scored.end(), out.token_ids.begin(), out.token_ids.end());
  out.report.set_text_changed(spelling.IsChanged(scored, text));
  return out;
}

JoinedTokens PutAfter(const Spelling& spelling, std::string_view text, bool begins_text, const SharedTokens& context,
                      bool context_changed, std::vector<TokenId> tokens) {
  JoinedTokens out;
  out.report.set_rule(v1::BOUNDARY_SEPARATE);
  out.report.set_text_changed(context_changed || spelling.IsChanged(tokens, text, begins_text));
  out.context = context;
  out.token_ids = std::move(tokens);
  return out;
}

}  // namespace logitd::server
