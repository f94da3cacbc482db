#include "rules/user_rules.h"

#include <c10/util/StringUtil.h>
#include <weft/rules.h>

#include <algorithm>
#include <mutex>

#include "base/installed.h"
#include "base/quote.h"
#include "comm/agree/settings.h"
#include "rules/op_info.h"
#include "rules/registry.h"
#include "rules/validate.h"

namespace weft {
namespace {

bool has_condition(const rules::Rule& rule) {
  return std::any_of(rule.attributes.begin(), rule.attributes.end(), [](const rules::Attribute& a) {
    return a.kind == rules::Attribute::when || a.kind == rules::Attribute::unless;
  });
}

}  // namespace

c10::OperatorHandle op_named(const std::string& name) {
  const std::string full = name.find("::") == std::string::npos ? "aten::" + name : name;
  const size_t dot = full.find('.');
  const std::string base = full.substr(0, dot), overload = dot == std::string::npos ? "" : full.substr(dot + 1);
  auto& dispatcher = c10::Dispatcher::singleton();
  const auto found = dispatcher.findSchema({base, overload == "default" ? "" : overload});
  if (found) return *found;
  std::vector<std::string> others;
  for (const auto& other : dispatcher.getAllOpNames()) {
    if (other.name == base && dispatcher.findSchema(other)) {
      others.push_back(base + (other.overload_name.empty() ? "" : "." + other.overload_name));
    }
  }
  std::sort(others.begin(), others.end());
  TORCH_CHECK_VALUE(false, "[W082] no op ", printable(name), " is registered",
                    others.empty() ? "; register it first" : "; there are " + c10::Join(", ", others));
}

void register_rule(const std::string& op, const std::string& text) {
  require_installed();
  static std::mutex* mutex = new std::mutex();
  std::lock_guard<std::mutex> lock(*mutex);
  const OpInfo info(op_named(op));
  const rules::Rule rule = rules::parse_for(info, text);
  for (const rules::RuleEntry* entry : info.rules) {
    if (entry->op != info.short_name) continue;  // of the op that this is a variant of
    TORCH_CHECK_VALUE(entry->binder == nullptr && has_condition(entry->rule) && entry->text != text, "[W081] [",
                      info.short_name, "] has a rule already, \"", printable(entry->text), "\"; \"", printable(text),
                      "\" would never be used");
  }
  TORCH_CHECK_VALUE(info.decomposition == nullptr, "[W081] [", info.short_name,
                    "] runs as other ops of Weft's already");
  rules::rule(info.short_name, text);
  comm::register_uniform_setting("rule of " + info.short_name + ": " + text, "on");
}

}  // namespace weft
