#include "rules/registry.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "rules/overloads.h"

namespace weft::rules {
namespace {

// Leaked on purpose: handlers outlive static destruction. Families only queue themselves in static initializers, which
// must not throw; they are filled in when the table is first asked for.
struct Table {
  std::recursive_mutex mutex;
  std::vector<Family> pending;
  std::multimap<std::string, RuleEntry> rules;
  std::unordered_map<std::string, Composite> composites;
  std::unordered_map<std::string, std::string> decompositions;
  std::unordered_set<std::string> uninitialized, copies;
  bool supports_empty_shards = false;  // the family that is being filled in
  std::atomic<uint64_t> version{0};
};
Table& table() {
  static Table* t = new Table();
  return *t;
}
Table& filled() {
  Table& t = table();
  std::lock_guard<std::recursive_mutex> lock(t.mutex);
  if (t.pending.empty()) return t;
  // They come in one order, whatever the linker's.
  auto pending = std::move(t.pending);
  t.pending.clear();
  std::sort(pending.begin(), pending.end(), [](const auto& a, const auto& b) {
    return std::make_pair(a.traits & Family::last, std::string_view(a.name)) <
           std::make_pair(b.traits & Family::last, std::string_view(b.name));
  });
  for (const Family& family : pending) {
    t.supports_empty_shards = (family.traits & Family::supports_empty_shards) != 0;
    family.fill();
  }
  t.supports_empty_shards = false;
  return t;
}

std::vector<const RuleEntry*> own_rules(const std::string& op) {
  std::vector<const RuleEntry*> out;
  auto [begin, end] = filled().rules.equal_range(op);
  for (auto it = begin; it != end; ++it) out.push_back(&it->second);
  return out;
}

void add(RuleEntry entry) {
  Table& t = table();
  std::lock_guard<std::recursive_mutex> lock(t.mutex);
  entry.supports_empty_shards = t.supports_empty_shards;
  t.rules.emplace(entry.op, std::move(entry));
  t.version.fetch_add(1, std::memory_order_release);
}

// Base ops to look under for a variant: "add_.Tensor" -> "add.Tensor"; "mylib::_foreach_op_" -> "mylib::op".
std::vector<std::string> bases(const std::string& op) {
  const size_t dot = op.find('.'), colons = op.find("::");
  std::string base = op.substr(0, dot), overload = dot == std::string::npos ? "" : op.substr(dot);
  std::vector<std::string> out;
  if (base.rfind("_foreach_", 0) == 0) return out;  // aten's are pointwise, entry by entry
  const bool own = colons != std::string::npos;     // not aten's
  if (own && base.compare(colons + 2, 9, "_foreach_") == 0) {
    base.erase(colons + 2, 9);
    if (base.back() == '_') base.pop_back();
    return {base + overload, base};
  }
  if (base.size() > 1 && base.back() == '_' && base[base.size() - 2] != '_') {
    base.pop_back();
    out.push_back(base + overload);
  }
  if (const std::string view = view_of(base); !own && view != base) out.push_back(view + overload);
  if (overload == ".generator" || overload == ".Generator") out.push_back(base);
  return out;
}

RuleEntry pointwise_rule() {
  RuleEntry entry;
  entry.op = "pointwise";
  entry.text = "*... -> *...";
  entry.rule = parse(entry.text);
  return entry;
}

}  // namespace

RegisterFamily::RegisterFamily(const Family& family) { table().pending.push_back(family); }

void rule(const std::string& op, const std::string& text) {
  RuleEntry entry;
  entry.op = op;
  entry.rule = parse(text);
  entry.text = text;
  add(std::move(entry));
}

void rule(std::initializer_list<const char*> ops, const std::string& text) {
  for (const char* op : ops) rule(std::string(op), text);
}

void rule(const std::string& op, const std::string& text, Binder binder) {
  RuleEntry entry;
  entry.op = op;
  entry.text = text;
  entry.binder = binder;
  add(std::move(entry));
}

void rule(std::initializer_list<const char*> ops, const std::string& text, Binder binder) {
  for (const char* op : ops) rule(std::string(op), text, binder);
}

void composite(const std::string& name, Composite run) {
  std::lock_guard<std::recursive_mutex> lock(table().mutex);
  table().composites[name] = run;
}

void decompose(const std::string& op, const std::string& composite_name) {
  std::lock_guard<std::recursive_mutex> lock(table().mutex);
  table().decompositions[op] = composite_name;
}

void uninitialized(std::initializer_list<const char*> ops) {
  std::lock_guard<std::recursive_mutex> lock(table().mutex);
  table().uninitialized.insert(ops.begin(), ops.end());
}

void copies(std::initializer_list<const char*> ops) {
  std::lock_guard<std::recursive_mutex> lock(table().mutex);
  table().copies.insert(ops.begin(), ops.end());
}

std::vector<const RuleEntry*> find(const std::string& op) {
  std::lock_guard<std::recursive_mutex> lock(table().mutex);
  auto out = own_rules(op);
  if (!out.empty()) return out;
  for (const std::string& base : bases(op)) {
    out = own_rules(base);
    if (!out.empty()) return out;
  }
  // Its name may be another than its variant's: pow_.Tensor, pow.Tensor_Tensor.
  const size_t dot = op.find('.');
  const std::string name_space = op.find("::") == std::string::npos ? "aten::" : "";
  const auto variant = c10::Dispatcher::singleton().findSchema(
      {name_space + op.substr(0, dot), dot == std::string::npos ? "" : op.substr(dot + 1)});
  if (!variant) return out;
  if (variant->schema().is_mutable()) {
    if (const auto functional = functional_of(variant->schema())) {
      const auto& name = functional->operator_name();
      out =
          own_rules(name.name.substr(name_space.size()) + (name.overload_name.empty() ? "" : "." + name.overload_name));
    }
  }
  // Aten's are in the table, family pointwise.
  static const RuleEntry pointwise = pointwise_rule();
  if (out.empty() && name_space.empty() && variant->hasTag(at::Tag::pointwise)) out.push_back(&pointwise);
  return out;
}

const std::atomic<uint64_t>& version() { return table().version; }

Composite find_composite(const std::string& name) {
  std::lock_guard<std::recursive_mutex> lock(table().mutex);
  auto it = filled().composites.find(name);
  TORCH_INTERNAL_ASSERT(it != filled().composites.end(), "no composite named ", name);
  return it->second;
}

Composite find_decomposition(const std::string& op) {
  std::lock_guard<std::recursive_mutex> lock(table().mutex);
  auto it = filled().decompositions.find(op);
  return it == table().decompositions.end() ? nullptr : find_composite(it->second);
}

bool is_uninitialized(const std::string& op) {
  std::lock_guard<std::recursive_mutex> lock(table().mutex);
  return filled().uninitialized.contains(op);
}

bool is_copy(const std::string& op) {
  std::lock_guard<std::recursive_mutex> lock(table().mutex);
  return filled().copies.contains(op);
}

std::vector<const RuleEntry*> all() {
  std::lock_guard<std::recursive_mutex> lock(table().mutex);
  std::vector<const RuleEntry*> out;
  for (const auto& [op, entry] : filled().rules) out.push_back(&entry);
  return out;
}

std::vector<std::string> ops_tagged_pointwise() {
  std::vector<std::string> out;
  for (const auto& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (name.name.rfind("aten::", 0) != 0) continue;
    auto handle = c10::Dispatcher::singleton().findSchema(name);
    if (!handle || !handle->hasTag(at::Tag::pointwise)) continue;
    out.push_back(name.name.substr(6) + (name.overload_name.empty() ? "" : "." + name.overload_name));
  }
  return out;
}

}  // namespace weft::rules
