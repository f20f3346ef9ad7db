// Example: the sequences 1 = abcd, 2 = abce, 3 = ab and 4 = xy.
//
//   round 1   1 += ab, 4 += xy     the common prefix of 1, 2 and 3, in the first of them
//   round 2   3 = copy of 1
//   round 3   1 += c               the common prefix of 1 and 2
//   round 4   2 = copy of 1
//   round 5   1 += d, 2 += e
//
// Seven tokens are evaluated. Without forks it would be twelve.
#include "server/models/rebuild_plan.h"

#include <algorithm>
#include <utility>

namespace logitd::server {
namespace {

// Sequences that agree in their first `length` tokens. The runner has those tokens, in the first of the sequences.
struct Group {
  std::vector<const SequenceTokens*> members;
  size_t length = 0;

  int64_t leader() const { return members.front()->sequence_id; }
  bool IsDone() const { return members.front()->tokens.size() == length; }
};

// Splits a group by the next token. A member that ends there is a group of its own.
std::vector<Group> Split(const Group& group) {
  std::vector<Group> parts;
  for (const SequenceTokens* member : group.members) {
    const auto goes_with = [&](const Group& part) {
      const SequenceTokens& first = *part.members.front();
      return !part.IsDone() && member->tokens.size() > group.length &&
             member->tokens[group.length] == first.tokens[group.length];
    };
    const auto found = std::find_if(parts.begin(), parts.end(), goes_with);
    if (found != parts.end()) {
      found->members.push_back(member);
    } else {
      parts.push_back({{member}, group.length});
    }
  }
  return parts;
}

size_t CommonLength(const Group& group) {
  const auto first = group.members.front()->tokens;
  size_t length = first.size();
  for (const SequenceTokens* member : group.members) {
    const auto end = std::mismatch(first.begin(), first.begin() + static_cast<ptrdiff_t>(length),
                                   member->tokens.begin(), member->tokens.end());
    length = static_cast<size_t>(end.first - first.begin());
  }
  return length;
}

SequenceWork Append(int64_t sequence_id, std::span<const TokenId> tokens) {
  SequenceWork work;
  work.sequence_id = sequence_id;
  work.append_token_ids.assign(tokens.begin(), tokens.end());
  return work;
}

}  // namespace

std::vector<std::vector<SequenceWork>> RebuildPlan(std::span<const SequenceTokens> sequences, bool fork) {
  std::vector<std::vector<SequenceWork>> rounds;
  const auto add_round = [&rounds](std::vector<SequenceWork> round) {
    if (!round.empty()) rounds.push_back(std::move(round));
  };
  std::vector<SequenceWork> appends;
  if (!fork) {
    for (const SequenceTokens& sequence : sequences) appends.push_back(Append(sequence.sequence_id, sequence.tokens));
    add_round(std::move(appends));
    return rounds;
  }
  Group all;
  for (const SequenceTokens& sequence : sequences) all.members.push_back(&sequence);
  std::vector<Group> groups = Split(all);
  while (!groups.empty()) {
    appends.clear();
    std::vector<SequenceWork> copies;
    std::vector<Group> next;
    for (Group& group : groups) {
      const size_t length = CommonLength(group);
      const auto tokens = group.members.front()->tokens.subspan(group.length, length - group.length);
      appends.push_back(Append(group.leader(), tokens));
      group.length = length;
      for (Group& part : Split(group)) {
        if (part.leader() != group.leader()) {
          SequenceWork& copy = copies.emplace_back();
          copy.sequence_id = part.leader();
          copy.fork_from_sequence_id = group.leader();
        }
        if (!part.IsDone()) next.push_back(std::move(part));
      }
    }
    add_round(std::move(appends));
    add_round(std::move(copies));
    groups = std::move(next);
  }
  return rounds;
}

}  // namespace logitd::server
