// Embedding tables: a split vocabulary is looked up by shifted, masked indices.
#include "rules/registry.h"

namespace weft::rules {

RULES(embedding, Family::supports_empty_shards) {
  rule("embedding", "v d, ... -> ... d;  masked v 1 zero;  linear 0");
  // Scaled by how often an index occurs, the whole batch must be seen.
  rule("embedding_dense_backward", "... d, ... -> v d;  sum ...;  linear 0;  unless scale_grad_by_freq");
  rule("embedding_dense_backward", "... d, ... -> v d;  whole ...;  linear 0;  when scale_grad_by_freq");
  // Bags: the columns are free; of split rows those that are asked for are gathered. The places of maxima are the last
  // result.
  rule({"_embedding_bag", "_embedding_bag_forward_only"},
       "v d, 1, 1, ?1 -> 1 d, 1, 1, 1"
       ";  whole v via embedding_bag;  free d;  when mode=sum");
  rule({"_embedding_bag", "_embedding_bag_forward_only"},
       "v d, 1, 1, ?1 -> 1 d, 1, 1, 1"
       ";  whole v via embedding_bag;  free d;  when mode=mean");
  rule({"_embedding_bag", "_embedding_bag_forward_only"},
       "v d, 1, 1, ?1 -> 1 d, 1, 1, 1 d"
       ";  whole v via embedding_bag;  free d;  when mode=max");
  rule("_embedding_bag_backward", "1 d, 1, 1, 1, 1, 1, ?1 -> 1 d;  linear 0;  when mode=sum");
  rule("_embedding_bag_backward", "1 d, 1, 1, 1, 1, 1, ?1 -> 1 d;  linear 0;  when mode=mean");
  rule("_embedding_bag_backward", "1 d, 1, 1, 1, 1, 1 d, ?1 -> 1 d;  linear 0;  when mode=max");
  rule("_embedding_bag_dense_backward", "1 d, 1, 1, 1, 1, ?1 -> 1 d;  linear 0;  when mode=sum");
  rule("_embedding_bag_dense_backward", "1 d, 1, 1, 1, 1, ?1 -> 1 d;  linear 0;  when mode=mean");
  rule("_embedding_bag_dense_backward", "1 d, 1, 1, 1, 1 d, ?1 -> 1 d;  linear 0;  when mode=max");
  rule("_embedding_bag_per_sample_weights_backward",
       "1 d, v d, 1, 1, 1 -> 1;  whole v via embedding_bag_per_sample_weights_backward;  sum d;  linear 0");
}

}  // namespace weft::rules
