// Views and the copying ops of the same shape arithmetic.
#include "rules/bind_view.h"
#include "rules/registry.h"

namespace weft::rules {

RULES(view, Family::supports_empty_shards) {
  rule({"view", "_unsafe_view", "reshape", "_reshape_copy", "view_copy"},
       "groups of dimensions with equal products share factors, folded ones are compounds;  carry 0", &bind_reshape);
  const std::string moved = "each result dimension is one of the input's or new;  carry 0";
  rule({"t", "t_copy"}, moved, &bind_t);
  rule({"transpose.int", "transpose_copy.int"}, moved, &bind_transpose);
  rule({"permute", "permute_copy"}, moved, &bind_permute);
  rule({"unsqueeze", "unsqueeze_copy"}, moved, &bind_unsqueeze);
  rule({"squeeze", "squeeze.dim", "squeeze.dims"}, moved, &bind_squeeze);
  rule({"expand", "expand_copy"}, moved, &bind_expand);
  rule({"view_as_real", "view_as_real_copy"}, moved, &bind_view_as_real);
  rule({"view_as_complex", "view_as_complex_copy"}, moved, &bind_view_as_complex);
  rule("diag_embed", moved, &bind_diag_embed);

  const std::string cut = "the dimension that is cut stays whole, the others are free;  carry 0";
  rule({"select.int", "select_copy.int", "unbind.int", "unbind_copy.int"}, cut, &bind_select);
  rule({"slice.Tensor", "slice_copy.Tensor"}, cut, &bind_slice);
  rule({"split.Tensor", "split_copy.Tensor", "split_with_sizes", "split_with_sizes_copy", "narrow_copy"}, cut,
       &bind_split);
  rule("diagonal", cut, &bind_diagonal);
  rule("unfold", cut, &bind_unfold);

  const std::string grown = "the dimensions that grow stay whole, the others are free";
  rule("constant_pad_nd", grown, &bind_pad);
  rule("repeat", grown, &bind_repeat);
}

}  // namespace weft::rules
