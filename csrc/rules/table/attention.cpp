// Scaled dot-product attention, each backend that core may choose: batch and heads are free; so are the queries (with
// fused kernels of GPUs where none is masked by its place), and then keys and values are whole.
#include "rules/registry.h"

namespace weft::rules {

// Query heads are (h g): g of them share the key and value head h.
RULES(attention) {
  rule("_scaled_dot_product_flash_attention_for_cpu",
       "b (h g) q d, b h k d, b h k e, ?b (h g) q k -> b (h g) q e, b (h g) q"
       ";  causal q;  whole k;  whole d;  whole e");
  rule("_scaled_dot_product_flash_attention_for_cpu_backward",
       "b (h g) q e, b (h g) q d, b h k d, b h k e, b (h g) q e, b (h g) q, ?b (h g) q k"
       " -> b (h g) q d, b h k d, b h k e"
       ";  sum g;  sum q;  causal q;  whole k;  whole d;  whole e");
  // Beside the results proper: lengths, seeds and an unused mask, the same on all ranks.
  rule("_scaled_dot_product_flash_attention",
       "b (h g) q d, b h k d, b h k e -> b (h g) q e, b (h g) q, , , , , 1, , 1"
       ";  whole k;  whole d;  whole e;  free b;  free h;  free g;  free q;  whole q;  when is_causal");
  rule("_scaled_dot_product_flash_attention",
       "b (h g) q d, b h k d, b h k e -> b (h g) q e, b (h g) q, , , , , 1, , 1"
       ";  whole k;  whole d;  whole e;  free b;  free h;  free g;  free q;  unless is_causal");
  rule("_scaled_dot_product_cudnn_attention",
       "b (h g) q d, b h k d, b h k e, ?b (h g) q k -> b (h g) q e, b (h g) q 1, , , , , , , "
       ";  whole k;  whole d;  whole e;  free b;  free h;  free g;  free q;  whole q;  when is_causal");
  rule("_scaled_dot_product_cudnn_attention",
       "b (h g) q d, b h k d, b h k e, ?b (h g) q k -> b (h g) q e, b (h g) q 1, , , , , , , "
       ";  whole k;  whole d;  whole e;  free b;  free h;  free g;  free q;  unless is_causal");
  // Its logarithms of sums are padded along the queries.
  rule("_scaled_dot_product_efficient_attention",
       "b h q d, b h k d, b h k e, ?b h q k -> b h q e, b h 1, , "
       ";  whole q;  free b;  free h;  whole k;  whole d;  whole e");
  rule("_scaled_dot_product_flash_attention_backward",
       "b (h g) q e, b (h g) q d, b h k d, b h k e, b (h g) q e, b (h g) q -> b (h g) q d, b h k d, b h k e"
       ";  whole k;  whole d;  whole e;  sum g;  whole q;  when is_causal");
  rule("_scaled_dot_product_flash_attention_backward",
       "b (h g) q e, b (h g) q d, b h k d, b h k e, b (h g) q e, b (h g) q -> b (h g) q d, b h k d, b h k e"
       ";  whole k;  whole d;  whole e;  sum g;  sum q;  unless is_causal");
  rule("_scaled_dot_product_cudnn_attention_backward",
       "b (h g) q e, b (h g) q d, b h k d, b h k e, b (h g) q e, b (h g) q 1, , , ?b (h g) q k"
       " -> b (h g) q d, b h k d, b h k e"
       ";  whole k;  whole d;  whole e;  sum g;  whole q;  when is_causal");
  rule("_scaled_dot_product_cudnn_attention_backward",
       "b (h g) q e, b (h g) q d, b h k d, b h k e, b (h g) q e, b (h g) q 1, , , ?b (h g) q k"
       " -> b (h g) q d, b h k d, b h k e"
       ";  whole k;  whole d;  whole e;  sum g;  sum q;  unless is_causal");
  rule("_scaled_dot_product_efficient_attention_backward",
       "b h q e, b h q d, b h k d, b h k e, ?b h q k, b h q e, b h 1 -> b h q d, b h k d, b h k e, b h q k"
       ";  whole q;  whole k;  whole d;  whole e");
}

}  // namespace weft::rules
