#include "plan/frozen.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include "comm/agree/settings.h"
#include "comm/lockstep/failure.h"
#include "layout/type_text.h"

namespace weft {

bool set_frozen(bool on) {
  comm::register_uniform_setting("frozen", on ? "on" : "");
  return frozen_detail::on.exchange(on, std::memory_order_relaxed);
}

void refuse_new_plan(const Call& call) {
  std::vector<std::string> operands;
  for (const TensorInfo& t : call.tensors) {
    if (t.defined && !t.wrapped_number) operands.push_back(type_text(t.dtype, t.geometry.sizes, t.layout));
  }
  comm::run_local(call.op.short_name, [&] {  // the others may not be frozen
    TORCH_CHECK(false, "[W074] [", call.op.short_name, "] there is no plan yet for ", c10::Join(", ", operands),
                ", and weft.frozen() lets none be made: run the same step before it, with the same shapes, layouts and "
                "modes (grad, autocast), or leave weft.frozen() off");
  });
  TORCH_INTERNAL_ASSERT(false);
}

}  // namespace weft
