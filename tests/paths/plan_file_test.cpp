#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <weft/layout_map.h>

#include <cstdio>
#include <fstream>
#include <unistd.h>

#include "support/outcome.h"

namespace weft {
namespace {

Mesh mesh() { return DeviceMesh::get({2, 2}, {"data", "model"}); }

std::string read_error(const std::string& text, Mesh m = mesh()) {
  return test::error_of([&] { LayoutMap::from_json(text, m, "plan.json"); });
}
std::string with_rules(const std::string& rules) { return "{\"weft_layout_map\": 1,\n \"rules\": " + rules + "}"; }

void expect_same(const LayoutMap& a, const LayoutMap& b) {
  EXPECT_EQ(a.mesh(), b.mesh());
  const auto left = a.rules(), right = b.rules();
  ASSERT_EQ(left.size(), right.size());
  for (size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(left[i].pattern, right[i].pattern);
    EXPECT_EQ(left[i].axes, right[i].axes);
  }
}

LayoutMap sample() {
  LayoutMap map(mesh());
  map.insert(R"(z\.first"quoted"ü.*)", {{}, {"model"}, {"data"}});
  map.insert("a/second", {{"data", "model"}, {}});
  map.insert("scalar", {});
  return map;
}

TEST(PlanFile, RoundTripKeepsOrder) {
  const LayoutMap map = sample();
  expect_same(map, LayoutMap::from_json(map.to_json()));
  expect_same(map, LayoutMap::from_json(map.to_json(), mesh()));
  const LayoutMap empty(mesh());
  expect_same(empty, LayoutMap::from_json(empty.to_json()));
}

TEST(PlanFile, ReadsLikeATable) {
  LayoutMap map(mesh());
  map.insert(".*/kernel", {{}, {"model"}});
  map.insert(".*/bias", {{"data", "model"}});
  EXPECT_EQ(map.to_json(), R"({
  "weft_layout_map": 1,
  "mesh": {"shape":[2,2],"axis_names":["data","model"],"ranks":[0,1,2,3],"device_type":"cpu"},
  "rules": {
    ".*/kernel": [null,"model"],
    ".*/bias": [["data","model"]]
  }
}
)");
}

TEST(PlanFile, MeshFromTheTextOrFromTheCaller) {
  const std::string text = R"({"weft_layout_map": 1, "mesh": {"shape": [4], "axis_names": ["model"]},
    "rules": {"a": ["model"]}})";
  EXPECT_EQ(LayoutMap::from_json(text).mesh(), DeviceMesh::get({4}, {"model"}));
  EXPECT_EQ(LayoutMap::from_json(text, mesh()).mesh(), mesh());
  EXPECT_EQ(read_error(R"({"weft_layout_map": 1, "rules": {}})", nullptr), R"(plan.json:1:1: "mesh" is missing)");
  EXPECT_NE(read_error(R"({"weft_layout_map": 1, "mesh": {"shape": [0], "axis_names": ["a"]}, "rules": {}})", nullptr)
                .find("plan.json:1:32: "),
            std::string::npos);
}

TEST(PlanFile, SyntaxErrorsHaveLineAndColumn) {
  EXPECT_EQ(read_error(with_rules("{\"a\": [null,]}")).substr(0, 16), "plan.json:2:23: ");
  EXPECT_EQ(read_error("{\n\n  nonsense").substr(0, 15), "plan.json:3:4: ");
  EXPECT_EQ(read_error("").substr(0, 15), "plan.json:1:1: ");
  EXPECT_EQ(read_error("{} x").substr(0, 15), "plan.json:1:4: ");
  EXPECT_NE(read_error("{\"\xff\": 1}").find("UTF-8"), std::string::npos);
  EXPECT_LT(read_error("{" + std::string(100000, 'x')).size(), 500u);
  EXPECT_LT(read_error("{\"a\" \"" + std::string(100000, 'x')).size(), 500u);
}

TEST(PlanFile, NothingMayFollowThePlan) {
  const std::string good = with_rules("{\"a\": [null]}");
  using std::string_literals::operator""s;
  EXPECT_EQ(read_error(good), "");
  EXPECT_EQ(read_error(good + "\n \n"), "");
  EXPECT_EQ(read_error("\xef\xbb\xbf" + good), "") << "a byte order mark may stand first";
  EXPECT_EQ(read_error(good + "\0garbage"s), "plan.json:2:25: a NUL byte");
  EXPECT_EQ(read_error(good + "\0"s), "plan.json:2:25: a NUL byte");
  EXPECT_EQ(read_error("\0"s + good), "plan.json:1:1: a NUL byte");
  EXPECT_EQ(read_error(with_rules("{\"a\0b\": []}"s)), "plan.json:2:14: a NUL byte");
  for (const char* garbage : {" x", "{}", "]", ",", "\xef\xbb\xbf", "\xe2\x82"}) {
    EXPECT_EQ(read_error(good + garbage).substr(0, 12), "plan.json:2:") << garbage;
  }
}

TEST(PlanFile, TextsAreWholeCharacters) {
  EXPECT_EQ(read_error(with_rules("{\"a\\u0000b\": []}")),
            "plan.json:2:24: LayoutMap: pattern 'a\\x00b' has a NUL byte at position 1; \\x00 stands for one");
  const auto mesh_error = [](const std::string& name) {
    return read_error(
        "{\"weft_layout_map\": 1, \"mesh\": {\"shape\": [1], \"axis_names\": [\"" + name + "\"]}, \"rules\": {}}",
        nullptr);
  };
  EXPECT_EQ(mesh_error("ü"), "");
  EXPECT_NE(mesh_error("a\\u0000").find("plan.json:1:32: device mesh: the name 'a\\x00' of axis 0 has control"),
            std::string::npos);
  for (const char* text : {"\xe2\x82", "\\ud800", "\xed\xa0\x80", "\x01"}) {  // cut short, half a pair, both ways
    EXPECT_EQ(read_error(with_rules("{\"a" + std::string(text) + "\": []}")).substr(0, 12), "plan.json:2:") << text;
    EXPECT_EQ(mesh_error(text).substr(0, 12), "plan.json:1:") << text;
  }
}

TEST(PlanFile, FaultsHaveLineAndColumn) {
  EXPECT_EQ(read_error(with_rules("{\"a\": [null],\n\"a\": [null]}")), "plan.json:3:3: key 'a' occurs twice");
  EXPECT_EQ(read_error("{\"weft_layout_map\": 1, \"rules\": {}, \"rules\": {}}").substr(0, 16), "plan.json:1:43: ");
  EXPECT_EQ(read_error(with_rules("{\"a\": [7]}")),
            "plan.json:2:18: a dimension must be null, an axis name or an array of axis names, not an integer");
  EXPECT_EQ(read_error(with_rules("{\"a\": [[null]]}")),
            "plan.json:2:22: an entry of a dimension's axes must be a string, not null");
  EXPECT_EQ(read_error(with_rules("{\"a\": null}")), "plan.json:2:20: the layout of 'a' must be an array, not null");
  EXPECT_EQ(read_error(with_rules("{\"a\": [\"batch\"]}")),
            "plan.json:2:17: LayoutMap: pattern 'a': axis 'batch' of dimension 0 is not in mesh (data=2, model=2)");
  EXPECT_NE(read_error(with_rules("{\"(\": []}")).find("plan.json:2:17: LayoutMap: pattern '('"), std::string::npos);
  EXPECT_EQ(read_error(with_rules("[]")), R"(plan.json:2:11: "rules" must be an object, not an array)");
  EXPECT_EQ(read_error("[]"), "plan.json:1:1: a plan must be an object, not an array");
  EXPECT_EQ(read_error("{\"rules\": {}}"), R"(plan.json:1:1: "weft_layout_map" is missing)");
  EXPECT_EQ(read_error("{\"weft_layout_map\": 2, \"rules\": {}}"),
            "plan.json:1:21: this is version 2 of the format; version 1 is known");
  EXPECT_EQ(read_error("{\"weft_layout_map\": 1, \"rules\": {}, \"extra\": 1.5}"),
            "plan.json:1:48: unknown key 'extra'");
  EXPECT_NE(read_error("{\"weft_layout_map\": 99999999999999999999, \"rules\": {}}").find("not a number"),
            std::string::npos);
}

TEST(PlanFile, LimitsHold) {
  EXPECT_NE(read_error(std::string(100000, '[')).find("nested more than 16 levels deep"), std::string::npos);
  std::string nested = "{";
  for (int i = 0; i < 100; ++i) nested += "\"a\":{";
  EXPECT_NE(read_error(nested).find("nested more than 16 levels deep"), std::string::npos);
  EXPECT_NE(read_error(std::string((16 << 20) + 1, ' ')).find("are more than the"), std::string::npos);
  std::string many = "[0";
  for (int i = 0; i < (1 << 20); ++i) many += ",0";
  EXPECT_NE(read_error(many + "]").find("holds more than"), std::string::npos);
}

TEST(PlanFile, SaveAndLoad) {
  const std::string file = testing::TempDir() + "weft_plan_" + std::to_string(::getpid()) + ".json";
  const LayoutMap map = sample();
  map.save(file);
  map.save(file);
  expect_same(map, LayoutMap::load(file));
  std::ofstream(file) << "{";
  try {
    LayoutMap::load(file, mesh());
    FAIL();
  } catch (const c10::ValueError& error) {
    EXPECT_EQ(std::string(error.what_without_backtrace()).find("[W045] " + file + ":1:2: "), 0u)
        << error.what_without_backtrace();
  }
  std::remove(file.c_str());
  EXPECT_THROW(LayoutMap::load(file), c10::ValueError);
  EXPECT_THROW(LayoutMap::load(testing::TempDir()), c10::ValueError);
  EXPECT_THROW(map.save(testing::TempDir() + "no/such/folder/plan.json"), c10::ValueError);
}

}  // namespace
}  // namespace weft
