// Reading and writing by index; concatenation.
#include "rules/bind_index.h"
#include "rules/bind_view.h"
#include "rules/registry.h"

namespace weft::rules {

RULES(indexing, Family::supports_empty_shards) {
  rule("gather", "..., ...~@dim -> ...~@dim;  masked @dim 1 zero;  linear 0;  exact");
  rule({"scatter.src", "scatter.value", "scatter_reduce.two", "scatter.reduce", "scatter.value_reduce"},
       "..., ...~@dim, ?...~@dim -> ...;  whole @dim;  exact");
  rule("scatter_add", "..., ...~@dim, ...~@dim -> ...;  whole @dim;  linear 0+2;  exact");
  rule({"index_add", "index_copy"}, "..., j, ...~@dim -> ...;  whole @dim;  whole j;  linear 0+2;  exact");
  rule({"index_fill.int_Scalar", "index_fill.int_Tensor"}, "..., j, ? -> ...;  whole @dim;  whole j");
  rule("index_reduce", "..., j, ...~@dim -> ...;  whole @dim;  whole j;  exact");
  rule("cat", "*... -> ...;  whole @dim;  carry *");
  rule("stack", "*... -> ...+@dim;  carry *");
  rule({"flip", "roll"}, "... -> ...;  whole @dims;  carry 0");
  rule({"index.Tensor", "_unsafe_index.Tensor", "index_select"},
       "dimensions without an index are free, so are the indices;  one index alone is masked;  carry 0", &bind_index);
  rule({"index_put", "_index_put_impl", "_unsafe_index_put"}, "dimensions without an index are free", &bind_index);
  rule("masked_scatter", "one dimension may be split, via masked_scatter", &bind_masked_scatter);
  rule("masked_scatter_backward", "one dimension may be split, via masked_scatter_backward",
       &bind_masked_scatter_backward);
  rule({"new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided"},
       "as self in dimensions that are as long as self's", &bind_new);
  uninitialized({"new_empty", "new_empty_strided"});
  rule({"select_backward", "slice_backward", "diagonal_backward", "unfold_backward"},
       "the dimension that was cut stays whole, the others are free;  linear 0", &bind_view_backward);
  rule({"select_scatter", "slice_scatter", "diagonal_scatter"},
       "the dimension that is cut stays whole, the others are free;  linear 0+1", &bind_view_scatter);
  rule("rot90", "... -> ...~@dims;  whole @dims;  carry 0");
  rule("bucketize.Tensor", "..., j -> ...;  whole j");
  rule("searchsorted.Tensor", "... j, ... k, ?... j -> ... k;  whole j");
  rule("glu", "... -> ...~@dim;  whole @dim");
  rule("glu_backward", "...~@dim, ... -> ...;  whole @dim;  linear 0");
  rule({"tril", "triu"}, "... y x -> ... y x;  whole y;  whole x;  linear 0");
}

}  // namespace weft::rules
