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
  for (const bool masked : {false, true}) {
    const std::string mask = masked ? "b 1 1 1" : "b 1", when = masked ? ";  when use_mask" : ";  unless use_mask";
    const std::string offset = "b 1 1 1, " + mask;
    rule("torchvision::deform_conv2d", "b 1 1 1, o 1 1 1, " + offset + ", o -> b o 1 1;  when groups=1" + when);
    rule("torchvision::deform_conv2d", "b 1 1 1, 1 1 1 1, " + offset + ", 1 -> b 1 1 1" + when);
    rule("torchvision::_deform_conv2d_backward", "b o 1 1, b 1 1 1, o 1 1 1, " + offset + ", o -> b 1 1 1, o 1 1 1, " +
                                                     offset + ", o;  sum b;  sum o;  when groups=1" + when);
    rule("torchvision::_deform_conv2d_backward",
         "b 1 1 1, b 1 1 1, 1 1 1 1, " + offset + ", 1 -> b 1 1 1, 1 1 1 1, " + offset + ", 1;  sum b" + when);
  }
}

}  // namespace weft::rules
