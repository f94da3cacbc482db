// Softmax.
#include "rules/registry.h"

namespace weft::rules {

RULES(softmax) {
  rule("_softmax", "... -> ...;  whole @dim via softmax");
  rule("_safe_softmax", "... -> ...;  whole @dim via safe_softmax");
  rule("_log_softmax", "... -> ...;  whole @dim via log_softmax");
  rule("_softmax_backward_data", "..., ... -> ...;  whole @dim via softmax_backward;  linear 0");
  rule("_log_softmax_backward_data", "..., ... -> ...;  whole @dim via log_softmax_backward;  linear 0");
}

}  // namespace weft::rules
