// Patterns and paths that are made to hurt: an answer comes soon, and errors have a bounded length.
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/layout_map.h>

#include "paths/layout_maps.h"
#include "support/outcome.h"

namespace weft {
namespace {

using test::error_of;
using test::found;
using test::insert_error;
using test::mesh;
using testing::HasSubstr;

// Whatever a user passes, an error shows its beginning only.
TEST(LayoutMapHostile, ErrorsHaveABoundedLength) {
  LayoutMap map(mesh());
  const std::string lengthy(5000, 'x'), bad = "(" + lengthy, axes = "a";
  EXPECT_THAT(insert_error(bad, {{}}), HasSubstr("…' (5001 bytes) is not a valid expression"));
  EXPECT_LT(insert_error(bad, {{}}).size(), 1200u);
  EXPECT_LT(insert_error(std::string(20000, '('), {{}}).size(), 400u);
  EXPECT_LT(insert_error(lengthy, {{lengthy}}).size(), 1200u);
  EXPECT_LT(insert_error(lengthy, DimAxes(5000, {"model"})).size(), 1200u);
  EXPECT_LT(error_of([&] { map.erase(lengthy); }).size(), 600u);
  for (int i = 0; i < 100; ++i) map.insert("x*" + std::string(i, 'x'), {{}});
  EXPECT_THAT(error_of([&] { map.lookup(lengthy); }), HasSubstr("matches 100 entries"));
  EXPECT_LT(error_of([&] { map.lookup(lengthy); }).size(), 4000u);
}

TEST(LayoutMapHostile, NestedRepetitionIsLinear) {
  LayoutMap map(mesh());
  map.insert("(a+)+$", {{}});
  map.insert("(a|aa)*b", {{}});
  map.insert("(.*)*x(.*)*y(.*)*z", {{}});
  std::string path(64 << 10, 'a');
  EXPECT_EQ(found(map, path), "(a+)+$");
  EXPECT_EQ(found(map, path + "!"), "none");
  EXPECT_EQ(found(map, path + "b"), "(a|aa)*b");
}

TEST(LayoutMapHostile, LongPaths) {
  LayoutMap map(mesh());
  map.insert(".*/kernel", {{}, {}});
  std::string path;
  while (path.size() < (100 << 10)) path += "block/";
  EXPECT_EQ(found(map, path + "kernel"), ".*/kernel");
  map.insert("block/.*", {{}, {}});
  const std::string error = error_of([&] { map.lookup(path + "kernel"); });
  EXPECT_LT(error.size(), 1000u);
  EXPECT_THAT(error, HasSubstr("bytes) matches 2 entries"));
}

TEST(LayoutMapHostile, InvalidUtf8AndNul) {
  LayoutMap map(mesh());
  map.insert(".*kernel", {{}});
  map.insert("ü/.*", {{}});
  map.insert(R"(n\x00l)", {{}});
  map.insert("k[\\x{0}-\\x{10ffff}]l", {{}});
  EXPECT_EQ(found(map, "\xff/kernel"), "none");
  EXPECT_EQ(found(map, std::string("a\0/kernel", 9)), ".*kernel");
  EXPECT_EQ(found(map, std::string("n\0l", 3)), R"(n\x00l)");
  EXPECT_EQ(found(map, std::string("n\0lx", 4)), "none");
  EXPECT_EQ(found(map, "ü/x"), "ü/.*");
  map.insert("ü.*", {{}});
  EXPECT_THAT(error_of([&] { map.lookup(std::string("ü/\0\t", 5)); }), HasSubstr(R"('ü/\x00\x09')"));
}

TEST(LayoutMapHostile, ManyPatternsAndVariables) {
  LayoutMap map(mesh());
  for (int i = 0; i < 300; ++i) {
    map.insert(".*block_" + std::to_string(i) + "/.*(query|key|value)/kernel", {{}, {"model"}});
  }
  int64_t matched = 0;
  for (int i = 0; i < 10000; ++i) {
    const std::string path = "model/stage/block_" + std::to_string(i % 400) + "/attention_" + std::to_string(i) +
                             (i % 2 == 0 ? "/query/kernel" : "/query/bias");
    if (map.lookup(path)) ++matched;
  }
  EXPECT_EQ(matched, 3750);
}

// Patterns whose common automaton is far larger than the memory it may take.
TEST(LayoutMapHostile, ExplodingAutomatonStillAnswers) {
  LayoutMap map(mesh());
  for (int i = 0; i < 100; ++i) {
    map.insert(".*" + std::string(1, static_cast<char>('a' + i % 26)) + ".{" + std::to_string(100 + i) + "}x", {{}});
  }
  const std::string path = "a" + std::string(100, 'Z') + "x";
  EXPECT_EQ(found(map, path), ".*a.{100}x");
  EXPECT_EQ(found(map, path + "y"), "none");
}

// Each pattern fits the memory of one, but eight do not fit that of a group.
TEST(LayoutMapHostile, HugePatternsAreMatchedOneByOne) {
  LayoutMap map(mesh());
  for (int i = 0; i < 16; ++i) {
    std::string pattern = "p" + std::to_string(i) + "_";
    for (int repeat = 0; repeat < 5; ++repeat) pattern += ".{1000}";
    map.insert(pattern, {{}});
  }
  EXPECT_EQ(found(map, "p12_" + std::string(5000, 'x')).substr(0, 4), "p12_");
  EXPECT_EQ(found(map, "p12_" + std::string(4999, 'x')), "none");
}

}  // namespace
}  // namespace weft
