// torchvision's own ops: boxes (k, in images of the whole batch) and channels are free; nms looks at all boxes.
#include "rules/registry.h"

namespace weft::rules {

RULES(torchvision) {
  rule("torchvision::roi_align", "1 c 1 1, k 1 -> k c 1 1;  linear 0");
  rule("torchvision::_roi_align_backward", "k c 1 1, k 1 -> 1 c 1 1;  sum k;  size c @channels;  linear 0");
  rule("torchvision::roi_pool", "1 c 1 1, k 1 -> k c 1 1, k c 1 1");
  rule("torchvision::_roi_pool_backward", "k c 1 1, k 1, k c 1 1 -> 1 c 1 1;  sum k;  size c @channels;  linear 0");
  // Each output channel reads channels of its own place in the box.
  rule({"torchvision::ps_roi_align", "torchvision::ps_roi_pool"}, "1 1 1 1, k 1 -> k 1 1 1, k 1 1 1");
  rule({"torchvision::_ps_roi_align_backward", "torchvision::_ps_roi_pool_backward"},
       "k 1 1 1, k 1, k 1 1 1 -> 1 1 1 1;  sum k;  linear 0");
  rule("torchvision::deform_conv2d", "b 1 1 1, o 1 1 1, b 1 1 1, b 1, o -> b o 1 1;  when groups=1;  unless use_mask");
  rule("torchvision::deform_conv2d", "b 1 1 1, 1 1 1 1, b 1 1 1, b 1, 1 -> b 1 1 1;  unless use_mask");
  rule("torchvision::deform_conv2d",
       "b 1 1 1, o 1 1 1, b 1 1 1, b 1 1 1, o -> b o 1 1"
       ";  when groups=1;  when use_mask");
  rule("torchvision::deform_conv2d", "b 1 1 1, 1 1 1 1, b 1 1 1, b 1 1 1, 1 -> b 1 1 1;  when use_mask");
  rule("torchvision::_deform_conv2d_backward",
       "b o 1 1, b 1 1 1, o 1 1 1, b 1 1 1, b 1, o -> b 1 1 1, o 1 1 1, b 1 1 1, b 1, o"
       ";  sum b;  sum o;  when groups=1;  unless use_mask");
  rule("torchvision::_deform_conv2d_backward",
       "b 1 1 1, b 1 1 1, 1 1 1 1, b 1 1 1, b 1, 1 -> b 1 1 1, 1 1 1 1, b 1 1 1, b 1, 1"
       ";  sum b;  unless use_mask");
  rule("torchvision::_deform_conv2d_backward",
       "b o 1 1, b 1 1 1, o 1 1 1, b 1 1 1, b 1 1 1, o -> b 1 1 1, o 1 1 1, b 1 1 1, b 1 1 1, o"
       ";  sum b;  sum o;  when groups=1;  when use_mask");
  rule("torchvision::_deform_conv2d_backward",
       "b 1 1 1, b 1 1 1, 1 1 1 1, b 1 1 1, b 1 1 1, 1 -> b 1 1 1, 1 1 1 1, b 1 1 1, b 1 1 1, 1"
       ";  sum b;  when use_mask");
}

}  // namespace weft::rules
