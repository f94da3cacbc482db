// Embedding tables: a split vocabulary is looked up by shifted, masked indices.
#include <utility>

#include "rules/registry.h"

namespace weft::rules {

RULES(embedding) {
  rule("embedding", "v d, ... -> ... d;  masked v 1;  linear 0");
  // Scaled by how often an index occurs, the whole batch must be seen.
  rule("embedding_dense_backward", "... d, ... -> v d;  sum ...;  linear 0;  unless scale_grad_by_freq");
  rule("embedding_dense_backward", "... d, ... -> v d;  whole ...;  linear 0;  when scale_grad_by_freq");
  // Bags: the columns are free. The mode is 0 for sums, 1 for means, 2 for maxima, whose places are the last result.
  for (const auto& [when, places] :
       {std::pair<std::string, std::string>{"unless mode", "1"}, {"when mode=1", "1"}, {"when mode=2", "1 d"}}) {
    rule({"_embedding_bag", "_embedding_bag_forward_only"},
         "1 d, 1, 1, ?1 -> 1 d, 1, 1, " + places + ";  free d;  " + when);
    rule("_embedding_bag_backward", "1 d, 1, 1, 1, 1, " + places + ", ?1 -> 1 d;  linear 0;  " + when);
    rule("_embedding_bag_dense_backward", "1 d, 1, 1, 1, " + places + ", ?1 -> 1 d;  linear 0;  " + when);
  }
  rule("_embedding_bag_per_sample_weights_backward", "1 d, 1 d, 1, 1, 1 -> 1;  sum d;  linear 0");
}

}  // namespace weft::rules
