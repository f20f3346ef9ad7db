// Who has won against whom, and whether that determines the items' strengths.
//
//   ComparisonGraph graph(3);
//   graph.AddWin(0, 1);
//   graph.AddWin(1, 0);
//   graph.AddWin(1, 2);
//   graph.Check();   // STRENGTHS_UNDEFINED: item 2 loses every comparison with the others
//
// The likelihood of Plackett-Luce strengths has a maximum, and only one, exactly if every item can be reached from
// every other one along wins: if the graph is strongly connected. Otherwise some group of items wins every comparison
// with the rest, or is never compared with it, and the likelihood grows or stays as their strengths go to infinity.
//
// Thread-compatible. Source: L. R. Ford, "Solution of a Ranking Problem from Binary Comparisons", American Mathematical
// Monthly 64 (1957); R. Tarjan, "Depth-First Search and Linear Graph Algorithms", SIAM J. Comput. 1 (1972).
#ifndef LOGITD_CORE_COMPARISON_GRAPH_H_
#define LOGITD_CORE_COMPARISON_GRAPH_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace logitd {

class ComparisonGraph {
 public:
  // REQUIRES: item_count >= 1.
  explicit ComparisonGraph(int32_t item_count) : item_count_(item_count) {}

  // REQUIRES: both in [0, item_count).
  void AddWin(int32_t winner, int32_t loser) { wins_.emplace_back(winner, loser); }

  // STRENGTHS_UNDEFINED unless the graph is strongly connected. The message names the items that are never compared
  // with the others; or, if there are none, those that always win and those that always lose. Cost: linear, and a sort.
  absl::Status Check() const;

 private:
  const int32_t item_count_;
  std::vector<std::pair<int32_t, int32_t>> wins_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_COMPARISON_GRAPH_H_
