#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <weft/layout_map.h>

#include "paths/near_misses.h"
#include "paths/respelt.h"
#include "paths/unheeded.h"

namespace weft {
namespace {

using testing::HasSubstr;

Mesh mesh() { return DeviceMesh::get({2, 2}, {"data", "model"}); }

std::vector<std::string> notes_of(const PathReport& report, ReportNote::Kind kind) {
  std::vector<std::string> out;
  for (const ReportNote& note : report.notes) {
    if (note.kind == kind) out.push_back(note.text);
  }
  return out;
}

LayoutMap sample() {
  LayoutMap map(mesh());
  map.insert(".*/q/kernel", {{}, {"model"}});
  map.insert(".*/q/bias", {{"model"}});
  map.insert("moe.*kernel", {{"data", "model"}, {}});
  map.insert("embed", {{"model"}, {}});
  map.insert(".*/never/.*", {{}});
  map.insert(".*/late/output", {{}});
  map.insert(".*/two", {{}});
  map.insert("net/tw.", {{"model"}});
  map.insert(".*/vector", {{"model"}, {}});
  return map;
}

std::vector<VariableInfo> variables() {
  return {{"net/q/kernel", {8, 16}, 4},    {"net/q/bias", {5}, 4},        {"net/moe/kernel", {64, 64}, 2},
          {"net/embeddings", {32, 64}, 4}, {"net/two", {4}, 4},           {"net/vector", {4}, 4},
          {"net/small", {2}, 4},           {"net/big_bias", {1 << 18}, 4}};
}

TEST(Report, Rows) {
  const PathReport r = report(sample(), variables());
  ASSERT_EQ(r.rows.size(), 8u);
  EXPECT_EQ(r.mesh, "mesh (data=2, model=2)");
  EXPECT_EQ(r.rows[0].pattern, ".*/q/kernel");
  EXPECT_EQ(r.rows[0].layout, "(None, model)");
  EXPECT_EQ(r.rows[0].bytes, 512);
  EXPECT_EQ(r.rows[0].bytes_per_rank, 256);
  EXPECT_EQ(r.rows[1].bytes, 20);
  EXPECT_EQ(r.rows[1].bytes_per_rank, 12);
  EXPECT_EQ(r.rows[2].pattern, "");
  EXPECT_EQ(r.rows[2].layout, "(None, None)");
  EXPECT_EQ(r.rows[2].bytes_per_rank, 8192);
  int64_t whole = 0, per_rank = 0;
  for (const PathRow& row : r.rows) {
    whole += row.bytes;
    per_rank += row.bytes_per_rank;
  }
  EXPECT_EQ(r.bytes, whole);
  EXPECT_EQ(r.bytes_per_rank, per_rank);
}

TEST(Report, Notes) {
  const LayoutMap map = sample();
  const PathReport r = report(map, variables());
  EXPECT_THAT(notes_of(r, ReportNote::unused_rule),
              testing::ElementsAre("rule 'moe.*kernel' matches nothing", "rule 'embed' matches nothing",
                                   "rule '.*/never/.*' matches nothing",
                                   "rule '.*/late/output' has matched no layer's output yet"));
  EXPECT_THAT(notes_of(r, ReportNote::unmatched_variable),
              testing::ElementsAre(HasSubstr("'net/big_bias' of 1048576 bytes")));
  EXPECT_THAT(notes_of(r, ReportNote::near_miss),
              testing::ElementsAre("rule 'moe.*kernel' matches a part, but not the whole, of 1 path that no rule "
                                   "matches, as 'net/moe/kernel'; '.*moe.*kernel' would",
                                   "rule 'embed' matches a part, but not the whole, of 1 path that no rule matches, as "
                                   "'net/embeddings'; '.*embed.*' would"));
  EXPECT_THAT(notes_of(r, ReportNote::ambiguous),
              testing::ElementsAre(HasSubstr("'net/two' matches 2 entries: '.*/two', 'net/tw.'")));
  EXPECT_THAT(notes_of(r, ReportNote::invalid), testing::ElementsAre(HasSubstr("'net/vector' has shape [4]")));
  EXPECT_THAT(
      notes_of(r, ReportNote::uneven),
      testing::ElementsAre("variable 'net/q/bias': dimension 0 of 5 does not divide evenly over (model=2): parts "
                           "of 2 to 3"));
  for (const LayoutRule& rule : map.rules()) EXPECT_EQ(rule.matches, 0) << rule.pattern;
}

TEST(Report, LargeDependsOnTheWhole) {
  const LayoutMap map(mesh());
  const PathReport r = report(map, {{"a", {10, 10}, 4}, {"b", {400}, 4}, {"c", {1, 1}, 4}});
  EXPECT_THAT(notes_of(r, ReportNote::unmatched_variable), testing::ElementsAre(HasSubstr("'a' of 400 bytes")));
}

TEST(Report, UnevenOverSeveralAxes) {
  LayoutMap map(DeviceMesh::get({2, 4}, {"data", "model"}));
  map.insert("a", {{"data", "model"}});
  const PathReport r = report(map, {{"a", {3}, 4}});
  EXPECT_THAT(
      notes_of(r, ReportNote::uneven),
      testing::ElementsAre("variable 'a': dimension 0 of 3 does not divide evenly over (data=2, model=4): parts "
                           "of 0 to 1, so some ranks hold nothing"));
  EXPECT_EQ(r.rows[0].bytes_per_rank, 4);
}

TEST(Report, UsedRulesAndActualLayouts) {
  LayoutMap map(mesh());
  map.insert("layer/output", {{"data"}});
  map.lookup("layer/output");
  const Layout actual = TensorLayout::from_names(mesh(), {{"data"}, {"model"}});
  const PathReport r = report(map, {{"a", {4, 4}, 4, "", actual}, {"b", {4}, 4, "", actual}});
  EXPECT_TRUE(notes_of(r, ReportNote::unused_rule).empty());
  EXPECT_EQ(r.rows[0].layout, "(data, model)");
  EXPECT_EQ(r.rows[0].bytes_per_rank, 16);
  EXPECT_EQ(r.rows[1].layout, "(None,)");
}

TEST(Report, SynonymsByModuleType) {
  LayoutMap map(mesh());
  map.insert("dense/kernel", {{}, {"model"}});
  const PathReport r =
      report(map, {{"dense.weight", {16, 8}, 4, "Linear"}, {"net.dense.weight", {16, 8}, 4, "Linear"}});
  EXPECT_EQ(r.rows[0].layout, "(model, None)");
  EXPECT_THAT(notes_of(r, ReportNote::near_miss),
              testing::ElementsAre(HasSubstr("as 'net/dense/kernel'; '.*dense/kernel' would")));
}

TEST(Report, ShellPatternsAreNearMisses) {
  LayoutMap map(mesh());
  map.insert("layers/*/kernel", {{}, {"model"}});
  const PathReport r = report(map, {{"layers/0/kernel", {4, 4}, 4}, {"layers/1/kernel", {4, 4}, 4}});
  EXPECT_THAT(
      notes_of(r, ReportNote::near_miss),
      testing::ElementsAre("rule 'layers/*/kernel' matches, read as a shell pattern and not as an expression, 2 paths "
                           "that no rule matches, as 'layers/0/kernel'; 'layers/.*/kernel' would"));
}

TEST(NearMisses, ReadAsGlob) {
  EXPECT_EQ(read_as_glob("*/weight"), ".*/weight");
  EXPECT_EQ(read_as_glob("a/**/w*"), "a/.*/w*");
  EXPECT_EQ(read_as_glob("(*|a)/x"), "(.*|a)/x");
  EXPECT_EQ(read_as_glob("a/.*/[bc]*d"), "a/.*/[bc]*d");
}

TEST(Report, NamesThatAreNearlySpeltRightAreNearMisses) {
  LayoutMap map(mesh());
  map.insert("layers/.*/atention/kernel", {{}, {"model"}});
  map.insert(R"(layers\.\d+\.(q|k)_porj\.kernel)", {{}, {"model"}});
  map.insert("layers/*/norm/gama", {{"model"}});
  map.insert("decoder/.*", {{}});                     // like nothing that there is
  map.insert("layers/.*/mlp/down/kernel", {{}, {}});  // right, and like what is not matched
  const PathReport r = report(map, {{"layers/0/attention/kernel", {4, 4}, 4},
                                    {"layers/1/attention/kernel", {4, 4}, 4},
                                    {"layers/0/q_proj/kernel", {4, 4}, 4},
                                    {"layers/0/norm/gamma", {4}, 4},
                                    {"layers/0/mlp/down/kernel", {4, 4}, 4},
                                    {"layers/0/mlp/dawn/kernel", {4, 4}, 4}});
  EXPECT_THAT(
      notes_of(r, ReportNote::near_miss),
      testing::ElementsAre("rule 'layers/.*/atention/kernel' has nearly the names of 2 paths that no rule "
                           "matches, as 'layers/0/attention/kernel'; 'layers/.*/attention/kernel' would",
                           R"(rule 'layers\.\d+\.(q|k)_porj\.kernel' has nearly the names of 1 path that no )"
                           R"(rule matches, as 'layers/0/q_proj/kernel'; 'layers\.\d+\.(q|k)_proj\.kernel' would)",
                           HasSubstr("'layers/.*/norm/gamma' would")));
}

TEST(Respelt, TakesNamesAndLeavesExpressions) {
  std::set<std::string> names;
  for (const char* path : {"layers/12/self_attn/q_proj/weight", "embed_tokens"}) {
    add_names(path, NameUnit::name, names);
  }
  EXPECT_THAT(names, testing::ElementsAre("embed_tokens", "layers", "q_proj", "self_attn", "weight"));
  const auto now = [&](const char* pattern) { return respelt(pattern, NameUnit::name, names); };
  EXPECT_EQ(now(R"(layer\/\w+/[weigth]+/(?P<wieght>x)/selfattn{1}/weigth)"),
            R"(layers\/\w+/[weigth]+/(?P<wieght>x)/self_attn{1}/weight)");
  EXPECT_EQ(now("layers/.*/weight"), "layers/.*/weight");
  EXPECT_EQ(now("x/y/experts"), "x/y/experts");
  EXPECT_EQ(now("weigth(?i"), "weight(?i");
  EXPECT_EQ(now(R"(\)"), R"(\)");
  EXPECT_EQ(now("[weigth"), "[weigth");
}

TEST(Unheeded, NamesPatternsAndLargeVariables) {
  LayoutMap map(mesh());
  map.insert("net/q/kernel", {{}, {"model"}});
  map.insert("q/kernel", {{}, {"model"}});
  map.insert("nowhere", {{}});
  map.insert(".*/bios", {{}});
  map.lookup("net/q/kernel");
  const std::vector<VariableInfo> unmatched{
      {"a/q/kernel", {4, 4}, 4}, {"b/q/kernel", {4, 4}, 4}, {"bias", {4}, 4}, {"big", {1 << 20, 2}, 4}};
  EXPECT_EQ(unheeded(map, unmatched, 8 << 20, false),
            "[W047] distribute_module: the layout map does not fit the whole module:\n"
            "3 patterns match no variable:\n"
            "  'q/kernel'; '.*q/kernel' would match 'a/q/kernel' and 1 other\n"
            "  'nowhere'\n"
            "  '.*/bios'\n"
            "no pattern matches a large variable, which every rank holds whole, 8.0 MiB in all (if that is meant: an "
            "entry with None for each dimension):\n"
            "  big [1048576, 2]");
  EXPECT_THAT(unheeded(map, unmatched, 8 << 20, true), testing::Not(HasSubstr("big")));
}

TEST(Unheeded, NothingToTell) {
  const std::vector<VariableInfo> unmatched{{"big", {1 << 20, 2}, 4}};
  EXPECT_EQ(unheeded(LayoutMap(mesh()), unmatched, 8 << 20, false), "") << "no entries: everything is whole";
  LayoutMap one_rank(DeviceMesh::get({1}, {"model"}));
  one_rank.insert("a", {{"model"}});
  one_rank.lookup("a");
  EXPECT_EQ(unheeded(one_rank, unmatched, 8 << 20, false), "");
  LayoutMap map(mesh());
  map.insert("a", {{"model"}});
  map.lookup("a");
  EXPECT_EQ(unheeded(map, {{"bias", {4}, 4}}, 8 << 20, false), "");
}

TEST(Unheeded, IsShort) {
  LayoutMap map(mesh());
  std::vector<VariableInfo> unmatched;
  for (int i = 0; i < 30; ++i) {
    map.insert("rule_" + std::to_string(i), {{}});
    unmatched.push_back({"layer_" + std::to_string(i), {1 << 20}, 4});
  }
  const std::string text = unheeded(map, unmatched, 120 << 20, false);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 20) << text;
  EXPECT_THAT(text, HasSubstr("and 22 others"));
}

TEST(Report, Table) {
  LayoutMap map(mesh());
  map.insert(".*/kernel", {{}, {"model"}});
  map.insert("unused", {{}});
  EXPECT_EQ(render(report(map, {{"net/kernel", {1024, 1024}, 4}, {"ü/bias\n", {4}, 4}})),
            "layouts on mesh (data=2, model=2)\n"
            "path        shape         rule       layout           whole  per rank\n"
            "net/kernel  [1024, 1024]  .*/kernel  (None, model)  4.0 MiB   2.0 MiB\n"
            "ü/bias\\x0a  [4]           -          (None,)           16 B      16 B\n"
            "total                                               4.0 MiB   2.0 MiB\n"
            "notes:\n"
            "  rule 'unused' matches nothing\n");
}

TEST(Report, TableCutsLongPathsAndNotes) {
  LayoutMap map(mesh());
  std::vector<VariableInfo> many;
  for (int i = 0; i < 30; ++i) many.push_back({"layer_" + std::to_string(i), {1 << 20}, 4});
  many.push_back({std::string(100 << 10, 'p'), {1}, 4});
  const std::string text = render(report(map, many));
  EXPECT_LT(text.size(), 20000u);
  EXPECT_THAT(text, HasSubstr("(10 more notes of the kind unmatched_variable)"));
}

TEST(Report, Json) {
  std::vector<VariableInfo> all = variables();
  all.push_back({"bad \xff name", {INT64_MAX, 4}, 8});
  const auto json = nlohmann::json::parse(to_json(report(sample(), all)));
  EXPECT_EQ(json["rows"][0]["path"], "net/q/kernel");
  EXPECT_EQ(json["rows"][0]["shape"], (std::vector<int64_t>{8, 16}));
  EXPECT_EQ(json["rows"][0]["bytes_per_rank"], 256);
  EXPECT_TRUE(json["rows"][2]["pattern"].is_null());
  EXPECT_EQ(json["rows"].size(), 9u);
  EXPECT_EQ(json["bytes"], INT64_MAX);
  EXPECT_EQ(json["notes"][0]["kind"], "ambiguous");
}

}  // namespace
}  // namespace weft
