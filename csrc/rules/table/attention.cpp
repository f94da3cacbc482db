// Scaled dot-product attention, each backend that core may choose: batch and heads are free.
#include "rules/registry.h"

namespace weft::rules {

// Query heads are (h g): g of them share the key and value head h.
RULES(attention) {
  rule("_scaled_dot_product_flash_attention_for_cpu",
       "b (h g) q d, b h k d, b h k e, ?b (h g) q k -> b (h g) q e, b (h g) q;  whole q;  whole k;  whole d;  whole e");
  rule("_scaled_dot_product_flash_attention_for_cpu_backward",
       "b (h g) q e, b (h g) q d, b h k d, b h k e, b (h g) q e, b (h g) q, ?b (h g) q k"
       " -> b (h g) q d, b h k d, b h k e;  whole q;  whole k;  whole d;  whole e;  whole g");
}

}  // namespace weft::rules
