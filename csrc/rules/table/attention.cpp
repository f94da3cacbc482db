// Scaled dot-product attention, each backend that core may choose: batch and heads are free.
#include "rules/registry.h"

namespace weft::rules {

RULES(attention) {
  rule("_scaled_dot_product_flash_attention_for_cpu",
       "b h q d, b h k d, b h k e, ?b h q k -> b h q e, b h q;  whole q;  whole k;  whole d;  whole e");
  rule("_scaled_dot_product_flash_attention_for_cpu_backward",
       "b h q e, b h q d, b h k d, b h k e, b h q e, b h q, ?b h q k -> b h q d, b h k d, b h k e;"
       "  whole q;  whole k;  whole d;  whole e");
}

}  // namespace weft::rules
