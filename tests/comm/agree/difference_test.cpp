// Who differs from whom, told from the ranks' hashes; nothing is sent.
#include "comm/agree/difference.h"

#include "comm/agree/settings.h"
#include "comm/names.h"

namespace weft::comm {
namespace {

TEST(HashOf, TellsOrderLengthAndEachWord) {
  const uint64_t hash = hash_of({1, 2, 3});
  EXPECT_EQ(hash_of({1, 2, 3}), hash);
  for (const std::vector<int64_t>& other :
       std::vector<std::vector<int64_t>>{{1, 3, 2}, {1, 2}, {1, 2, 3, 0}, {0, 1, 2, 3}, {1, 2, 4}, {-1, 2, 3}}) {
    EXPECT_NE(hash_of(other), hash) << c10::Join(" ", other);
  }
  EXPECT_NE(hash_of({}), hash_of({0}));
}

TEST(WithMesh, TellsAxesRanksAndDevices) {
  const std::vector<Mesh> meshes{line(4), DeviceMesh::get({2, 2}, {"x", "y"}), DeviceMesh::get({4}, {"y"}),
                                 DeviceMesh::get({4}, {"x"}, {1, 0, 2, 3}), DeviceMesh::get({4}, {"x"}, {}, "cuda")};
  for (size_t a = 0; a < meshes.size(); ++a) {
    for (size_t b = 0; b < meshes.size(); ++b) {
      EXPECT_EQ(with_mesh({7}, meshes[a]) == with_mesh({7}, meshes[b]), a == b) << a << " " << b;
    }
  }
  EXPECT_NE(with_mesh({7}, line(4)), with_mesh({8}, line(4)));
}

TEST(Difference, IsEmptyWhereAllAreAlike) { EXPECT_EQ(difference({5, 5, 5}, line(3)), ""); }

TEST(Difference, TakesWhatMostRanksHaveAsMeant) {
  EXPECT_EQ(difference({5, 5, 9}, line(3)), "rank 2 differs from ranks 0, 1");
  EXPECT_EQ(difference({9, 5, 5}, line(3)), "rank 0 differs from ranks 1, 2");
  EXPECT_EQ(difference({9, 5, 5, 8, 5}, line(5)), "ranks 0, 3 differ from ranks 1, 2, 4");
}

TEST(Difference, OfEquallyManyTakesWhatTheLowestRankHas) {
  EXPECT_EQ(difference({9, 5}, line(2)), "rank 1 differs from rank 0");
  EXPECT_EQ(difference({5, 9}, line(2)), "rank 1 differs from rank 0");
  EXPECT_EQ(difference({3, 2, 1}, line(3)), "ranks 1, 2 differ from rank 0");
}

TEST(Difference, NamesRanksOfTheWorldWhereTheMeshHasAnotherOrder) {
  const Mesh mesh = DeviceMesh::get({4}, {"x"}, {3, 1, 0, 2});
  EXPECT_EQ(difference({9, 5, 5, 5}, mesh), "rank 3 differs from ranks 0, 1, 2");
  EXPECT_EQ(difference({9, 5, 9, 5}, mesh), "ranks 1, 2 differ from ranks 0, 3");
}

TEST(Compare, NamesWhatDiffers) {
  EXPECT_NO_THROW(compare({5, 5}, "the shape", line(2)));
  EXPECT_EQ(error_of([] { compare({5, 4}, "the shape", line(2)); }),
            "the shape must be the same on all ranks, but rank 1 differs from rank 0");
}

TEST(Settings, AreTheSameInWhateverOrderTheyWereSet) {
  const std::string before = settings();
  register_uniform_setting("one", "on");
  register_uniform_setting("other", "3");
  const std::string set = settings();
  EXPECT_THAT(set, AllOf(HasSubstr("one=on\n"), HasSubstr("other=3\n")));
  register_uniform_setting("one", "");
  register_uniform_setting("other", "");
  EXPECT_EQ(settings(), before);
  register_uniform_setting("other", "2");
  register_uniform_setting("one", "on");
  EXPECT_NE(settings(), set);
  register_uniform_setting("other", "3");
  EXPECT_EQ(settings(), set);
  register_uniform_setting("one", "");
  register_uniform_setting("other", "");
}

}  // namespace
}  // namespace weft::comm
