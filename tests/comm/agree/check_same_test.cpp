#include "comm/agree/check_same.h"

#include "comm/agree/agree_or_throw.h"
#include "comm/agree/gather_same.h"
#include "comm/names.h"

namespace weft::comm {
namespace {

constexpr int kRanks = 3;

TEST(CheckSame, IsOneCollectiveAndPassesWhereAllAreAlike) {
  const Sent sent;
  run_ranks(kRanks, [](int) { check_same({3, 4}, "the shape", line(kRanks)); });
  EXPECT_EQ(sent.count(), kRanks);  // one on each
}

TEST(CheckSame, RaisesTheSameOnAllWhereOneDiffers) {
  for (const int64_t other : {5, -3}) {
    const auto errors =
        errors_of_ranks(kRanks, [&](int rank) { check_same({3, rank == 1 ? other : 4}, "the shape", line(kRanks)); });
    EXPECT_THAT(errors,
                Each(std::string("[W090] the shape must be the same on all ranks, but rank 1 differs from ranks "
                                 "0, 2")));
  }
}

TEST(CheckSame, NamesTheFactsThatDifferAndAsksForThemOnlyThen) {
  const auto told = [](const char* shape, const std::string& more) {
    return [=]() -> Facts { return {{"dtype", "Float"}, {"shape", shape}, {"note", "two\nlines"}, {more, "1"}}; };
  };
  const auto errors = errors_of_ranks(kRanks, [&](int rank) {
    check_same({rank / 2}, "the tensor", line(kRanks), told(rank < 2 ? "[4]" : "[5]", rank == 1 ? "b" : "a"));
  });
  EXPECT_THAT(errors, Each(std::string("[W090] the tensor must be the same on all ranks, but rank 2 differs from ranks "
                                       "0, 1; the shape is [4] on ranks 0, 1, [5] on rank 2; the a is 1 on ranks 0, 2, "
                                       "not there on rank 1; the b is not there on ranks 0, 2, 1 on rank 1")));
  run_ranks(kRanks, [](int) {
    check_same({1}, "the tensor", line(kRanks), []() -> Facts { throw std::runtime_error("asked"); });
  });
  const auto many = errors_of_ranks(kRanks, [](int rank) {
    check_same({rank}, "the tensors", line(kRanks), [rank] {
      Facts facts;
      for (int i = 0; i < 9; ++i) facts.emplace_back(std::to_string(i), std::to_string(rank));
      return facts;
    });
  });
  EXPECT_THAT(many, Each(AllOf(HasSubstr("; the 2 is 0 on rank 0, 1 on rank 1, 2 on rank 2, and 6 more"))));
}

TEST(CheckSame, WordsOfWhichSomeRanksHaveMoreDiffer) {
  const Mesh mesh = DeviceMesh::get({2, 2}, {"data", "model"}, {3, 2, 1, 0});
  const auto errors =
      errors_of_ranks(4, [&](int rank) { check_same(std::vector<int64_t>(rank / 2, 0), "the shapes", mesh); });
  EXPECT_THAT(errors, Each(HasSubstr("but ranks 2, 3 differ from ranks 0, 1")));
}

// Its groups are not made before the ranks agree about it: what is sent goes over the world.
TEST(CheckSame, NamesTheMeshesWhereTheseDiffer) {
  const auto errors = errors_of_ranks(4, [](int rank) {
    const Mesh mesh = rank == 2 ? DeviceMesh::get({2, 2}, {"data", "model"}) : DeviceMesh::get({4}, {"data"});
    check_same({}, kMeshMade, mesh);
  });
  EXPECT_THAT(errors, Each(AllOf(HasSubstr("the device mesh must be the same on all ranks, but rank 2 differs from"),
                                 HasSubstr("; the mesh is mesh (data=4) on cpu on ranks 0, 1, 3, "
                                           "mesh (data=2, model=2) on cpu on rank 2"))));
  const auto orders = errors_of_ranks(2, [](int rank) {
    check_same({}, kMeshMade,
               DeviceMesh::get({2}, {"x"}, rank == 0 ? std::vector<int64_t>{1, 0} : std::vector<int64_t>{}));
  });
  EXPECT_THAT(orders, Each(HasSubstr("mesh (x=2) of ranks 1, 0 on cpu on rank 0, mesh (x=2) on cpu on rank 1")));
}

TEST(CheckSame, LeavesTheMeshOutWhereItIsNotWhatDiffers) {
  const auto errors = errors_of_ranks(2, [](int rank) { check_same({rank}, "it", line(2)); });
  EXPECT_THAT(errors, Each(Not(HasSubstr("the mesh is"))));
}

TEST(GatherSame, TellsAWordOfEachRankInTheSameCollective) {
  const Sent sent;
  run_ranks(kRanks, [](int rank) {
    EXPECT_THAT(gather_same({3, 4}, "the shape", line(kRanks), -rank), ElementsAre(0, -1, -2));
  });
  EXPECT_EQ(sent.count(), kRanks);
  EXPECT_THAT(gather_same({3}, "the shape", nullptr, 5), ElementsAre(5));  // a world of one
}

TEST(GatherSame, ComparesNotWhatIsTold) {
  const auto errors =
      errors_of_ranks(kRanks, [](int rank) { gather_same({rank == 2}, "the shape", line(kRanks), rank); });
  EXPECT_THAT(errors, Each(HasSubstr("the shape must be the same on all ranks, but rank 2 differs from ranks 0, 1")));
}

TEST(CheckMesh, AsksOnceForEachMesh) {
  const Sent sent;
  run_ranks(2, [](int) {
    for (int again = 0; again < 3; ++again) check_mesh(line(2));
    check_mesh(DeviceMesh::get({2}, {"y"}));
  });
  EXPECT_EQ(sent.count(), 2 * 2);
}

TEST(CheckMesh, AMeshThatWasComparedWithOthersIsKnown) {
  const Sent sent;
  run_ranks(2, [](int) {
    check_same({1}, "it", line(2));
    check_mesh(line(2));
  });
  EXPECT_EQ(sent.count(), 2);
}

TEST(GatherWords, AreByRankOfTheWorld) {
  run_ranks(kRanks, [](int rank) {
    for (const Mesh mesh : {Mesh(nullptr), DeviceMesh::get({kRanks}, {"x"}, {2, 0, 1})}) {
      EXPECT_THAT(
          gather_words({rank, -rank, 7}, mesh),
          ElementsAre(std::vector<int64_t>{0, 0, 7}, std::vector<int64_t>{1, -1, 7}, std::vector<int64_t>{2, -2, 7}));
    }
  });
}

TEST(WorldMesh, HasAllRanksInOneLine) {
  run_ranks(4, [](int) {
    EXPECT_EQ(world_mesh(), DeviceMesh::get({4}, {"world"}));
    EXPECT_EQ(world_mesh(DeviceMesh::get({2, 2}, {"x", "y"}, {3, 1, 0, 2})), world_mesh());
  });
}

// As the callers have it: what goes right goes on to a comparison with the others.
int64_t made(int rank, const std::function<bool(int)>& fails) {
  const Mesh mesh = line(kRanks);
  const int64_t value = agree_or_throw("the layout", mesh, [&]() -> int64_t {
    TORCH_CHECK_VALUE(!fails(rank), "[W030] no axis 'z'");
    return 7;
  });
  check_same({value}, "the layout", mesh);
  return value;
}

TEST(AgreeOrThrow, GivesTheValueWhereNoneFails) {
  run_ranks(kRanks, [](int rank) { EXPECT_EQ(made(rank, [](int) { return false; }), 7); });
}

TEST(AgreeOrThrow, RaisesTheDifferenceOnAllWhereOneFails) {
  const auto errors = errors_of_ranks(kRanks, [](int rank) { made(rank, [](int r) { return r == 2; }); });
  EXPECT_THAT(errors, Each(HasSubstr("[W090] the layout must be the same on all ranks, but rank 2 differs")));
}

TEST(AgreeOrThrow, RaisesTheErrorItselfWhereAllHaveIt) {
  const auto errors = errors_of_ranks(kRanks, [](int rank) { made(rank, [](int) { return true; }); });
  EXPECT_THAT(errors, Each(std::string("[W030] no axis 'z'")));
}

}  // namespace
}  // namespace weft::comm
