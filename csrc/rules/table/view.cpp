// Views and the copying ops of the same shape arithmetic.
#include "rules/bind_view.h"
#include "rules/registry.h"

namespace weft::rules {

RULES(view, Family::supports_empty_shards) {
  rule({"view", "_unsafe_view", "reshape", "_reshape_copy", "view_copy"},
       "groups of dimensions with equal products share factors, folded ones are compounds;  carry 0", &bind_reshape);
  rule({"t", "transpose.int", "permute", "unsqueeze", "squeeze", "squeeze.dim", "squeeze.dims", "expand", "t_copy",
        "permute_copy", "transpose_copy.int", "expand_copy", "unsqueeze_copy", "view_as_real", "view_as_complex",
        "view_as_real_copy", "view_as_complex_copy", "diag_embed"},
       "each result dimension is one of the input's or new;  carry 0", &bind_dims);
  rule({"select.int", "slice.Tensor", "split.Tensor", "split_with_sizes", "unbind.int", "diagonal", "unfold",
        "narrow_copy", "select_copy.int", "slice_copy.Tensor", "split_copy.Tensor", "split_with_sizes_copy",
        "unbind_copy.int"},
       "the dimension that is cut stays whole, the others are free;  carry 0", &bind_dims);
  rule({"constant_pad_nd", "repeat"}, "the dimensions that grow stay whole, the others are free", &bind_dims);
}

}  // namespace weft::rules
