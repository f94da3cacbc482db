// Losses.
#include "rules/registry.h"

namespace weft::rules {

RULES(loss) {
  // Losses: by entry, as a sum, as a mean over all entries of all shards.
  const auto losses = {"mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss"};
  rule(losses, "..., ... -> ...;  unless reduction");
  rule(losses, "..., ... -> ;  sum ...;  when reduction=sum");
  rule(losses, "..., ... -> ;  whole ... via mean_loss;  when reduction");
  const auto backward = {"mse_loss_backward", "smooth_l1_loss_backward", "huber_loss_backward",
                         "soft_margin_loss_backward"};
  rule(backward, "..., ..., ... -> ...;  linear 0;  unless reduction");
  rule(backward, "..., ..., ... -> ...;  linear 0;  when reduction=sum");
  rule(backward, "..., ..., ... -> ...;  whole ... via mean_loss_backward;  when reduction");
  rule("binary_cross_entropy", "..., ..., ?... -> ...;  unless reduction");
  rule("binary_cross_entropy", "..., ..., ?... -> ;  sum ...;  when reduction=sum");
  rule("binary_cross_entropy", "..., ..., ?... -> ;  whole ... via mean_loss;  when reduction");
  rule("binary_cross_entropy_with_logits", "..., ..., ?..., ?... -> ...;  unless reduction");
  rule("binary_cross_entropy_with_logits", "..., ..., ?..., ?... -> ;  sum ...;  when reduction=sum");
  rule("binary_cross_entropy_with_logits", "..., ..., ?..., ?... -> ;  whole ... via mean_loss;  when reduction");
  rule("binary_cross_entropy_backward", "..., ..., ..., ?... -> ...;  unless reduction");
  rule("binary_cross_entropy_backward", "..., ..., ..., ?... -> ...;  when reduction=sum");
  rule("binary_cross_entropy_backward",
       "..., ..., ..., ?... -> ...;  whole ... via mean_loss_backward;  when reduction");

  rule("multi_margin_loss", "n c, n, ?c -> n;  whole c;  unless reduction");
  rule("multi_margin_loss", "n c, n, ?c -> ;  whole c;  sum n;  when reduction=sum");
  rule("multi_margin_loss_backward", "n, n c, n, ?c -> n c;  whole c;  unless reduction");
  rule("multi_margin_loss_backward", ", n c, n, ?c -> n c;  whole c;  when reduction=sum");
  rule("multilabel_margin_loss_forward", "n c, n c -> n, n c;  whole c;  unless reduction");
  rule("multilabel_margin_loss_forward", "n c, n c -> , n c;  whole c;  sum n;  when reduction=sum");
  rule("multilabel_margin_loss_backward", "n, n c, n c, n c -> n c;  whole c;  unless reduction");
  rule("multilabel_margin_loss_backward", ", n c, n c, n c -> n c;  whole c;  when reduction=sum");

  // Classes c are looked up by target: what other shards hold is ignored.
  rule("nll_loss_forward", "n c, n, ?c -> n, ;  masked c 1 ignore @ignore_index;  free n;  unless reduction");
  rule("nll_loss_forward", "n c, n, ?c -> , ;  sum n;  masked c 1 ignore @ignore_index;  when reduction=sum");
  rule("nll_loss_forward", "n c, n, ?c -> , ;  whole n via nll_loss;  whole c via nll_loss;  when reduction");
  rule("nll_loss_backward", "n, n c, n, ?c, -> n c;  masked c 2 ignore @ignore_index;  unless reduction");
  rule("nll_loss_backward", ", n c, n, ?c, -> n c;  masked c 2 ignore @ignore_index;  when reduction");
  rule("nll_loss2d_forward",
       "n c y x, n y x, ?c -> n y x, ;  masked c 1 ignore @ignore_index;  free n;  free y;  free x;  unless reduction");
  rule("nll_loss2d_forward",
       "n c y x, n y x, ?c -> , ;  sum n;  sum y;  sum x;  masked c 1 ignore @ignore_index;  when reduction=sum");
  rule("nll_loss2d_forward",
       "n c y x, n y x, ?c -> , ;  whole n via nll_loss;  whole y via nll_loss;  whole x via nll_loss;"
       "  whole c via nll_loss;  when reduction");
  rule("nll_loss2d_backward",
       "n y x, n c y x, n y x, ?c, -> n c y x;  masked c 2 ignore @ignore_index;  unless reduction");
  rule("nll_loss2d_backward", ", n c y x, n y x, ?c, -> n c y x;  masked c 2 ignore @ignore_index;  when reduction");
}

}  // namespace weft::rules
