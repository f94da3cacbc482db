// Core's `operator<<` is inline, calls this exported function, and reads memory below the dispatcher. In a program that
// is linked with weft, whose library comes before torch's, the one here is found first; a sharded tensor is printed as
// `describe` tells it, without a collective, so that one rank alone may print. All else is left to core.
#include <ATen/core/Formatting.h>
#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>
#include <weft/print.h>

#include <dlfcn.h>

#include "tensor/sharded.h"

namespace {

using Print = std::ostream& (*)(std::ostream&, const at::Tensor&, int64_t);

// It is found by the library's name: what comes next after this library depends on who has loaded it.
Print core_print() {
  void* core = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);
  void* print = core != nullptr ? dlsym(core, "_ZN2at5printERSoRKNS_6TensorEl") : nullptr;
  TORCH_INTERNAL_ASSERT(print != nullptr,
                        "libtorch_cpu.so has no at::print(std::ostream&, const at::Tensor&, int64_t)");
  return reinterpret_cast<Print>(print);
}

}  // namespace

namespace at {

std::ostream& print(std::ostream& stream, const Tensor& tensor, int64_t linesize) {
  if (tensor.defined() && weft::holds_shards(tensor)) return stream << weft::describe(tensor);
  static const Print of_core = core_print();
  return of_core(stream, tensor, linesize);
}

}  // namespace at
