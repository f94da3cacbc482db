// Scaled dot-product attention, each backend that core may choose: batch and heads are free; so are the queries (with
// fused kernels of GPUs where none is masked by its place), and then keys and values are whole.
#include "rules/registry.h"

namespace weft::rules {

// Query heads are (h g): g of them share the key and value head h.
RULES(attention) {
  const std::string queries[] = {";  whole q;  when is_causal", ";  unless is_causal"};
  const std::string shared_queries[] = {";  whole q;  when is_causal", ";  sum q;  unless is_causal"};
  const std::string whole = ";  whole k;  whole d;  whole e", free = ";  free b;  free h;  free g;  free q";
  rule("_scaled_dot_product_flash_attention_for_cpu",
       "b (h g) q d, b h k d, b h k e, ?b (h g) q k -> b (h g) q e, b (h g) q;  causal q" + whole);
  rule("_scaled_dot_product_flash_attention_for_cpu_backward",
       "b (h g) q e, b (h g) q d, b h k d, b h k e, b (h g) q e, b (h g) q, ?b (h g) q k"
       " -> b (h g) q d, b h k d, b h k e;  sum g;  sum q;  causal q" +
           whole);
  for (const std::string& q : queries) {
    // Beside the results proper: lengths, seeds and an unused mask, the same on all ranks.
    rule("_scaled_dot_product_flash_attention",
         "b (h g) q d, b h k d, b h k e -> b (h g) q e, b (h g) q, , , , , 1, , 1" + whole + free + q);
    rule("_scaled_dot_product_cudnn_attention",
         "b (h g) q d, b h k d, b h k e, ?b (h g) q k -> b (h g) q e, b (h g) q 1, , , , , , , " + whole + free + q);
  }
  // Its logarithms of sums are padded along the queries.
  rule("_scaled_dot_product_efficient_attention",
       "b h q d, b h k d, b h k e, ?b h q k -> b h q e, b h 1, , ;  whole q;  free b;  free h" + whole);
  for (const std::string& q : shared_queries) {
    const std::string shared = whole + ";  sum g" + q;
    rule(
        "_scaled_dot_product_flash_attention_backward",
        "b (h g) q e, b (h g) q d, b h k d, b h k e, b (h g) q e, b (h g) q -> b (h g) q d, b h k d, b h k e" + shared);
    rule("_scaled_dot_product_cudnn_attention_backward",
         "b (h g) q e, b (h g) q d, b h k d, b h k e, b (h g) q e, b (h g) q 1, , , ?b (h g) q k"
         " -> b (h g) q d, b h k d, b h k e" +
             shared);
  }
  rule("_scaled_dot_product_efficient_attention_backward",
       "b h q e, b h q d, b h k d, b h k e, ?b h q k, b h q e, b h 1"
       " -> b h q d, b h k d, b h k e, b h q k;  whole q" +
           whole);
}

}  // namespace weft::rules
