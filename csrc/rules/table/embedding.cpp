// Embedding tables: a split vocabulary is looked up by shifted, masked indices.
#include "rules/registry.h"

namespace weft::rules {

RULES(embedding) {
  rule("embedding", "v d, ... -> ... d;  masked v 1;  linear 0");
  // Scaled by how often an index occurs, the whole batch must be seen.
  rule("embedding_dense_backward", "... d, ... -> v d;  sum ...;  linear 0;  unless scale_grad_by_freq");
  rule("embedding_dense_backward", "... d, ... -> v d;  whole ...;  linear 0;  when scale_grad_by_freq");
}

}  // namespace weft::rules
