#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/layout_map.h>

#include <algorithm>
#include <thread>

#include "paths/layout_maps.h"
#include "support/outcome.h"

namespace weft {
namespace {

using test::error_of;
using test::found;
using test::insert_error;
using test::mesh;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(LayoutMap, MatchesWholePathsOnly) {
  LayoutMap map(mesh());
  map.insert("dense.*kernel", {{}, {"model"}});
  map.insert(".*/bias", {{"model"}});
  EXPECT_EQ(found(map, "dense_1/kernel"), "dense.*kernel");
  EXPECT_EQ(found(map, "net/dense_1/kernel"), "none");
  EXPECT_EQ(found(map, "dense_1/kernel_scale"), "none");
  EXPECT_EQ(found(map, "net/dense_1/bias"), ".*/bias");
  EXPECT_EQ(found(map, "bias"), "none");
  EXPECT_EQ(found(map, ""), "none");
  EXPECT_EQ(map.layout_for("net/dense_1/kernel", {4, 4}), nullptr);
  EXPECT_EQ(map.layout_for("dense_1/kernel", {4, 4}), TensorLayout::from_names(mesh(), {{}, {"model"}}));
}

TEST(LayoutMap, ExactKeyWins) {
  LayoutMap map(mesh());
  map.insert(".*kernel", {{}, {"model"}});
  map.insert("net/dense/kernel", {{"model"}, {}});
  map.insert("net/.*/kernel", {{}, {}});
  EXPECT_EQ(found(map, "net/dense/kernel"), "net/dense/kernel");
  EXPECT_EQ(found(map, "net.dense.kernel"), "net/dense/kernel");
}

TEST(LayoutMap, SeveralMatchesAreAnErrorNamingAll) {
  LayoutMap map(mesh());
  map.insert(".*kernel", {{}, {"model"}});
  map.insert("bias", {{}});
  map.insert("net/.*/kernel", {{}, {}});
  EXPECT_EQ(error_of([&] { map.lookup("net/dense/kernel"); }),
            "LayoutMap: path 'net/dense/kernel' matches 2 entries: '.*kernel', 'net/.*/kernel'. Make them narrower, or "
            "insert the path itself: an exact key wins over every pattern");
  EXPECT_THAT(map.matching("net/dense/kernel"), ElementsAre(".*kernel", "net/.*/kernel"));
  EXPECT_EQ(found(map, "other/kernel"), ".*kernel");
}

TEST(LayoutMap, BothPathFormsAndBothPatternForms) {
  LayoutMap map(mesh());
  map.insert("enc/layers/[0-9]+/fc/weight", {{"model"}, {}});
  map.insert(R"(dec\.layers\.[0-9]+\.fc\.weight)", {{"model"}, {}});
  map.insert("dot.meta.weight", {{"model"}, {}});
  map.insert("layers.*weight", {{"model"}, {}});
  map.insert("exact.bias", {{}});
  for (const char sep : {'/', '.'}) {
    auto path = [&](std::string p) {
      std::replace(p.begin(), p.end(), '/', sep);
      return p;
    };
    EXPECT_EQ(found(map, path("enc/layers/12/fc/weight")), "enc/layers/[0-9]+/fc/weight");
    EXPECT_EQ(found(map, path("dec/layers/12/fc/weight")), R"(dec\.layers\.[0-9]+\.fc\.weight)");
    EXPECT_EQ(found(map, path("dot/meta/weight")), "dot.meta.weight");
    EXPECT_EQ(found(map, path("layers/0/fc/weight")), "layers.*weight");
    EXPECT_EQ(found(map, path("exact/bias")), "exact.bias");
  }
  EXPECT_EQ(found(map, "_functional._torch_params.enc/layers/1/fc/weight"), "enc/layers/[0-9]+/fc/weight");
}

TEST(LayoutMap, SegmentsAreNotCrossedByTheOtherForm) {
  LayoutMap map(mesh());
  map.insert("[^/]*kernel", {{}, {}});
  map.insert(R"([^.]*bias)", {{}});
  map.insert(R"(\Qa.b\E)", {{}});
  EXPECT_EQ(found(map, "dense_kernel"), "[^/]*kernel");
  EXPECT_EQ(found(map, "net.dense.kernel"), "none");
  EXPECT_EQ(found(map, "net/dense/kernel"), "none");
  EXPECT_EQ(found(map, "net/dense/bias"), "none");
  EXPECT_EQ(found(map, "dense_bias"), "[^.]*bias");
  EXPECT_EQ(found(map, "a/b"), R"(\Qa.b\E)");
}

TEST(LayoutMap, OneEntryMatchingBothFormsCountsOnce) {
  LayoutMap map(mesh());
  map.insert(".*", {{}});
  EXPECT_EQ(found(map, "a/b"), ".*");
  map.insert("a/b", {{}});
  map.insert("a.b", {{}});
  EXPECT_THAT(error_of([&] { map.lookup("a/b"); }), HasSubstr("2 entries: 'a/b', 'a.b'"));
}

TEST(LayoutMap, NamesWithBothSeparators) {
  LayoutMap map(mesh());
  map.insert(R"(heads\.en/de\.weight)", {{}, {}});
  EXPECT_EQ(found(map, "heads.en/de.weight"), R"(heads\.en/de\.weight)");
}

TEST(LayoutMap, InsertChecksAxes) {
  EXPECT_EQ(insert_error("a.*", {{"model"}, {"batch"}}),
            "LayoutMap: pattern 'a.*': axis 'batch' of dimension 1 is not in mesh (data=2, model=2)");
  EXPECT_EQ(insert_error("a.*", {{"model"}, {"data", "model"}}),
            "LayoutMap: pattern 'a.*': axis 'model' is used twice in (model, (data, model)); an axis can split one "
            "dimension only");
  EXPECT_NE(insert_error("a", {{""}}), "");
  EXPECT_EQ(insert_error("a", {}), "");
  EXPECT_EQ(insert_error("a", {{"data", "model"}, {}}), "");
  LayoutMap map(mesh());
  map.insert("a.*", {{"model"}});
  EXPECT_EQ(error_of([&] { map.insert("a.*", {{}}); }),
            "LayoutMap: pattern 'a.*' is there already, with (model,); erase it first to replace it");
  EXPECT_EQ(error_of([] { LayoutMap(nullptr); }), "LayoutMap: a device mesh is needed");
}

TEST(LayoutMap, BadPatternsAreShown) {
  EXPECT_EQ(insert_error("layers/(a|b/kernel"),
            "LayoutMap: pattern 'layers/(a|b/kernel' is not a valid expression: missing ): layers/(a|b/kernel");
  EXPECT_THAT(insert_error("a/[z-a]"), HasSubstr("'a/[z-a]' is not a valid expression at position 3"));
  EXPECT_THAT(insert_error("a/*+"), HasSubstr("possessive"));
  EXPECT_THAT(insert_error("a{1001}"), HasSubstr("1000 at most"));
  EXPECT_THAT(insert_error("((a{100}){100}){100}"), HasSubstr("is not a valid expression"));
  EXPECT_THAT(insert_error(""), HasSubstr("empty"));
  EXPECT_THAT(insert_error(std::string(100000, 'a')), HasSubstr("longer than"));
  EXPECT_THAT(insert_error("a\xff"), HasSubstr(R"('a\xff' is not a valid expression: invalid UTF-8)"));
  EXPECT_THAT(insert_error(std::string("a(\0", 3)), HasSubstr(R"('a(\x00')"));
  EXPECT_THAT(insert_error(R"(a\Z)"), HasSubstr("Leave it out"));
}

TEST(LayoutMap, LookAroundAndBackreferencesSayWhatToDo) {
  for (const char* pattern : {"layers/(?!0)[0-9]+/kernel", "(?=a)b", "(?<=a)b", "(?<!a)b"}) {
    const std::string error = insert_error(pattern);
    EXPECT_THAT(error, HasSubstr("Look-around is not supported, since matching takes time linear")) << error;
    EXPECT_THAT(error, HasSubstr("an exact key wins")) << error;
  }
  for (const char* pattern : {R"((a)\1)", "(?P<x>a)(?P=x)"}) {
    EXPECT_THAT(insert_error(pattern), HasSubstr("Backreferences are not supported")) << insert_error(pattern);
  }
  EXPECT_THAT(insert_error("layers/(?!0)[0-9]+/kernel"), HasSubstr("at position 7"));
  EXPECT_THAT(insert_error("(?>a)"), HasSubstr("never backtracks"));
}

TEST(LayoutMap, RankMismatchNamesPathPatternAndShape) {
  LayoutMap map(mesh());
  map.insert(".*kernel", {{"model"}});
  EXPECT_EQ(error_of([&] { map.layout_for("net/dense/kernel", {8, 16}); }),
            "LayoutMap: path 'net/dense/kernel' has shape [8, 16], 2 dimensions, but pattern '.*kernel' gives 1: "
            "(model,). Write one axis, tuple of axes or None for each dimension");
  map.insert("scalar", {});
  EXPECT_EQ(map.layout_for("scalar", {}), TensorLayout::replicated(mesh(), 0));
}

TEST(LayoutMap, SynonymsByModuleTypeArePermuted) {
  LayoutMap map(mesh());
  map.insert(".*/dense/kernel", {{}, {"model"}});
  map.insert(".*/conv/kernel", {{}, {}, {"data"}, {"model"}});
  map.insert(".*/norm/gamma", {{"model"}});
  EXPECT_EQ(map.layout_for("net.dense.weight", {16, 8}, "Linear"), TensorLayout::from_names(mesh(), {{"model"}, {}}));
  EXPECT_EQ(map.layout_for("net.dense.weight", {16, 8}, "torch.nn.modules.linear.Linear")->str(), "(model, None)");
  EXPECT_EQ(map.layout_for("net.conv.weight", {8, 4, 3, 3}, "Conv2d")->str(), "(model, data, None, None)");
  EXPECT_EQ(map.layout_for("net.norm.weight", {8}, "LayerNorm")->str(), "(model,)");
  EXPECT_EQ(map.lookup("net.dense.weight", "Linear")->spelling, "net/dense/kernel");
  EXPECT_EQ(map.layout_for("net.dense.weight", {16, 8}), nullptr);
  EXPECT_EQ(map.layout_for("net.dense.weight", {16, 8}, "LayerNorm"), nullptr);
  LayoutMap torch_style(mesh());
  torch_style.insert(R"(.*\.weight)", {{"model"}, {}});
  EXPECT_EQ(torch_style.layout_for("net/dense/kernel", {8, 16}, "Dense")->str(), "(None, model)");
}

TEST(LayoutMap, OneEntryForBothSpellingsIsTakenAsWritten) {
  LayoutMap map(mesh());
  map.insert("net/.*", {{"model"}, {}});
  EXPECT_EQ(map.layout_for("net.fc.weight", {16, 8}, "Linear")->str(), "(model, None)");
}

TEST(LayoutMap, DifferentEntriesForTwoSpellingsAreAnError) {
  LayoutMap map(mesh());
  map.insert(".*/kernel", {{}, {"model"}});
  map.insert(".*/weight", {{"model"}, {}});
  EXPECT_THAT(error_of([&] { map.lookup("net.fc.weight", "Linear"); }),
              HasSubstr("matches 2 entries: '.*/weight', '.*/kernel' (as 'net/fc/kernel')"));
  EXPECT_EQ(found(map, "net.fc.weight", "LayerNorm"), ".*/weight");
  map.insert("net/fc/kernel", {{}, {}});
  EXPECT_EQ(found(map, "net.fc.weight", "Linear"), "net/fc/kernel");
}

TEST(LayoutMap, CountsMatches) {
  LayoutMap map(mesh());
  map.insert("a.*", {{}});
  map.insert("b.*", {{}});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        map.lookup("a/" + std::to_string(i));
        map.matching("b/x");
        if (i % 50 == 0) map.insert("c" + std::to_string(i) + std::to_string(reinterpret_cast<uintptr_t>(&i)), {{}});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(map.rules()[0].matches, 2000);
  EXPECT_EQ(map.rules()[1].matches, 0);
  EXPECT_EQ(map.size(), 42);
}

TEST(LayoutMap, EraseAndList) {
  LayoutMap map(mesh());
  map.insert("a.*", {{"model"}});
  map.insert("b.*", {{}});
  EXPECT_EQ(found(map, "a1"), "a.*");
  map.erase("a.*");
  EXPECT_EQ(found(map, "a1"), "none");
  EXPECT_FALSE(map.contains("a.*"));
  EXPECT_TRUE(map.contains("b.*"));
  map.insert("a.*", {{"data"}});
  EXPECT_EQ(map.rules()[1].axes, (DimAxes{{"data"}}));
  EXPECT_THAT(error_of([&] { map.erase("none"); }), HasSubstr("there is no pattern 'none'"));
  EXPECT_EQ(map.mesh(), mesh());
}

TEST(LayoutMap, Moves) {
  LayoutMap map(mesh());
  map.insert("a.*", {{}});
  LayoutMap other = std::move(map);
  EXPECT_EQ(found(other, "a1"), "a.*");
  LayoutMap third(mesh());
  third = std::move(other);
  EXPECT_EQ(found(third, "a1"), "a.*");
}

}  // namespace
}  // namespace weft
