// Embedding tables: a split vocabulary is looked up by shifted, masked indices.
#include "rules/registry.h"

namespace weft::rules {

RULES(embedding) {
  rule("embedding", "v d, ... -> ... d;  masked v 1;  linear 0");
  rule("embedding_dense_backward", "... d, ... -> v d;  sum ...;  linear 0");
}

}  // namespace weft::rules
