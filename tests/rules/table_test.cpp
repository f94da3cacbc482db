// The table of rules: every line of it as text, compared with golden.txt. WEFT_UPDATE_GOLDEN=1 writes that file anew.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "rules/op_info.h"
#include "rules/registry.h"
#include "rules/validate.h"

namespace weft::rules {
namespace {

// Rules that pointwise ops get by core's tag are left out: which ops those are depends on the torch in use.
std::vector<std::string> table_lines() {
  std::set<std::string> tagged;
  for (const std::string& op : ops_tagged_pointwise()) tagged.insert(op);
  std::vector<std::string> lines;
  for (const RuleEntry* r : all()) {
    if (r->text == "*... -> *..." && tagged.count(r->op)) continue;
    lines.push_back(r->op + ": " + r->text);
  }
  return lines;
}

TEST(RuleTable, AsInGoldenText) {
  // The compiler may name this file from the folder that it builds in, which is this program's.
  const auto build = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  const auto path = build / std::filesystem::path(__FILE__).parent_path() / "golden.txt";
  const std::vector<std::string> lines = table_lines();
  if (std::getenv("WEFT_UPDATE_GOLDEN") != nullptr) {
    std::ofstream out(path);
    for (const std::string& line : lines) out << line << "\n";
    ASSERT_TRUE(out.flush()) << path << " cannot be written";
    return;
  }
  std::ifstream in(path);
  ASSERT_TRUE(in) << path << " is missing; run with WEFT_UPDATE_GOLDEN=1 to write it";
  std::vector<std::string> golden;
  for (std::string line; std::getline(in, line);) golden.push_back(line);
  const std::set<std::string> now(lines.begin(), lines.end()), then(golden.begin(), golden.end());
  for (const std::string& line : now) EXPECT_TRUE(then.count(line)) << "new: " << line;
  for (const std::string& line : then) EXPECT_TRUE(now.count(line)) << "gone: " << line;
  EXPECT_EQ(lines.size(), golden.size());
}

TEST(RuleTable, EveryRuleIsForAnOpThatExists) {
  std::set<std::string> names, bases;
  for (const auto& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (name.name.rfind("aten::", 0) != 0) continue;
    const std::string base = name.name.substr(6);
    names.insert(base + (name.overload_name.empty() ? "" : "." + name.overload_name));
    bases.insert(base);
  }
  // Some name only the base of an in-place op, and some ops come and go with torch versions.
  const std::set<std::string> elsewhere = {"contiguous", "fill", "zero", "masked_fill", "index_put_impl", "prims::fma"};
  int unknown = 0;
  for (const RuleEntry* r : all()) {
    if (r->op.find("::") != std::string::npos) continue;  // of a library that need not be loaded
    const std::string base = r->op.substr(0, r->op.find('.'));
    if (names.count(r->op) || names.count(base + "_" + r->op.substr(base.size())) || elsewhere.count(base)) continue;
    ++unknown;
    std::cerr << "no op " << r->op << "\n";
  }
  EXPECT_LE(unknown, 12);
}

// What an op is known by is made with its rules' recipes checked.
TEST(RuleTable, EveryRecipeFitsItsOps) {
  int rules = 0;
  for (const auto& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (name.name.rfind("aten::", 0) != 0) continue;
    const auto handle = c10::Dispatcher::singleton().findSchema(name);
    if (!handle) continue;
    try {
      rules += static_cast<int>(OpInfo(*handle).rules.size());
    } catch (const c10::Error& e) {
      ADD_FAILURE() << e.what_without_backtrace();
    }
  }
  EXPECT_GT(rules, 1000);
}

TEST(RuleTable, RecipesNeedTheirArguments) {
  const OpInfo op(c10::Dispatcher::singleton().findSchemaOrThrow("aten::mul", "Tensor"));
  const auto refusal = [&](const char* text) -> std::string {
    try {
      check_recipes(op, parse(text));
    } catch (const c10::ValueError& e) {
      return e.what_without_backtrace();
    }
    return "";
  };
  EXPECT_NE(refusal("y, y -> y;  halo y average").find("no argument 'stride'"), std::string::npos);
  EXPECT_NE(refusal("q, q -> q;  causal q").find("no tensor argument 'query'"), std::string::npos);
  EXPECT_NE(refusal("v, n -> n;  masked v 1 ignore @ignore_index").find("no argument 'ignore_index'"),
            std::string::npos);
  EXPECT_NE(refusal("v d, n -> d n;  masked v 1 zero").find("does not begin with"), std::string::npos);
  EXPECT_EQ(refusal("v d, n -> n d;  masked v 1 zero"), "");
}

TEST(RuleTable, ANumberTellsOfValuesWhereItIsNoSize) {
  const auto tells = [](const char* name) {
    return OpInfo(c10::Dispatcher::singleton().findSchemaOrThrow((std::string("aten::") + name).c_str(), "")).tells;
  };
  for (const char* op : {"_local_scalar_dense", "equal", "is_nonzero"}) EXPECT_TRUE(tells(op)) << op;
  for (const char* op : {"_scaled_dot_product_flash_attention", "_scaled_dot_product_cudnn_attention", "mm"}) {
    EXPECT_FALSE(tells(op)) << op;
  }
}

TEST(RuleTable, VariantsFollowTheirBase) {
  const auto base = find("add.Tensor"), in_place = find("add_.Tensor");
  ASSERT_FALSE(base.empty());
  EXPECT_EQ(base, in_place);
  EXPECT_TRUE(find("no_such_op").empty());
  ASSERT_FALSE(find("mul.Tensor").empty());
  EXPECT_EQ(find("mul.Tensor")[0]->text, "..., ... -> ...;  linear 0|1");
}

}  // namespace
}  // namespace weft::rules
