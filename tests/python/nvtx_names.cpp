// What a tool such as Nsight Systems is for NVTX: the library that NVTX_INJECTION64_PATH names, told of every range.
#include <nvtx3/nvToolsExt.h>

#include <mutex>
#include <string>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

std::mutex mutex;
std::string names;  // each with a line end

int NVTX_API push(const char* name) {
  const std::lock_guard lock(mutex);
  names.append(name).append("\n");
  return 0;
}

}  // namespace

EXPORTED int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t export_table) {
  const auto* callbacks = static_cast<const NvtxExportTableCallbacks*>(export_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (!callbacks || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &table, &size)) return 0;
  if (size <= NVTX_CBID_CORE_RangePushA) return 0;
  *table[NVTX_CBID_CORE_RangePushA] = reinterpret_cast<NvtxFunctionPointer>(&push);
  return 1;
}

EXPORTED const char* pushed_names() { return names.c_str(); }
