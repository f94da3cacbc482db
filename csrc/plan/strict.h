#pragma once
// What a program wants to be told, or refused, of the parts of tensors that its ops gather or send between ranks.
// Process-wide; every rank sets it alike.
#include <ATen/core/Tensor.h>
#include <weft/layout.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace weft {

struct Strict {
  bool on = false;
  std::vector<std::string> allowed;  // patterns of variable paths, as in a LayoutMap: these may be laid out anew
};

/// Whether an op is refused that would gather its inputs for want of a rule, or bring an operand that is split to
/// another layout. Not what needs no part of another rank (a slice), nor pending reductions: those are what a layout is
/// for.
bool strict();
/// Returns what it was before. Raises ValueError for a pattern that is no regular expression.
Strict set_strict(Strict strict);
/// From how many bytes on, of the largest part that a rank gets, such an operand is told, once for each op, variable
/// and layouts; -1: never. Returns what it was before. Raises ValueError below -1.
int64_t warn_relayout(int64_t bytes);

namespace strict_detail {
inline std::atomic<bool> watching{false};
}
inline bool watches_relayouts() { return strict_detail::watching.load(std::memory_order_relaxed); }
/// Whether strict mode refuses to lay a variable of that path (empty: what is none) out anew. Plans are made for that:
/// where there is one that moves no such operand, it is taken, however long it takes.
bool refuses_relayout(const std::string& path);
/// An operand that the op is about to bring to another layout: refused, told or neither.
void watch_relayout(const std::string& op, const at::Tensor& operand, Layout from, Layout to);

}  // namespace weft
