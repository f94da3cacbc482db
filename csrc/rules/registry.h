#pragma once
// The table of rules. Filled once at load by the files in table/.
#include <atomic>
#include <initializer_list>
#include <string>
#include <vector>

#include "rules/bound.h"

namespace weft::rules {

/// Registers a rule for an overload ("mm", "sum.dim_IntList", "mylib::op"). Raises ValueError on a bad text.
void rule(const std::string& op, const std::string& text);
void rule(std::initializer_list<const char*> ops, const std::string& text);
/// A rule bound by a function; `text` describes it in the printed table.
void rule(const std::string& op, const std::string& text, Binder binder);
void rule(std::initializer_list<const char*> ops, const std::string& text, Binder binder);
/// Says what runs where a factor marked `via name` arrives split, or always for an op (`decompose`).
void composite(const std::string& name, Composite run);
/// An op that always runs as that composite.
void decompose(const std::string& op, const std::string& composite_name);
/// Ops whose results are memory that nothing has written yet.
void uninitialized(std::initializer_list<const char*> ops);
/// Ops whose result is the value of their first argument.
void copies(std::initializer_list<const char*> ops);

/// The rules of an overload in the order to try them, those of its base op where it is an in-place, foreach or
/// overloaded variant without one of its own.
std::vector<const RuleEntry*> find(const std::string& op);
/// Goes up with every rule that is registered: what find() gave before may be no longer so.
const std::atomic<uint64_t>& version();
Composite find_composite(const std::string& name);
/// The composite that stands for the op; null: none.
Composite find_decomposition(const std::string& op);
bool is_uninitialized(const std::string& op);
bool is_copy(const std::string& op);
/// All rules, by op.
std::vector<const RuleEntry*> all();
/// Overloads of aten that core tags as pointwise.
std::vector<std::string> ops_tagged_pointwise();

/// A file of the table: RULES(family) { rule(...); ... }, or RULES(family, traits).
struct Family {
  enum Traits : unsigned {
    none = 0,
    /// Its kernels take shards with nothing in them; those of other families, and of users' ops, are spared them.
    supports_empty_shards = 1,
    /// Filled in after the others: it leaves alone what has a rule of its own.
    last = 2,
  };
  const char* name;
  void (*fill)();
  unsigned traits;
};
struct RegisterFamily {
  explicit RegisterFamily(const Family& family);
};

}  // namespace weft::rules

#define RULES(family, ...)                                                                \
  static void family##_rules();                                                           \
  static const ::weft::rules::RegisterFamily family##_family(                             \
      {#family, &family##_rules, ::weft::rules::Family::none __VA_OPT__(|) __VA_ARGS__}); \
  static void family##_rules()
