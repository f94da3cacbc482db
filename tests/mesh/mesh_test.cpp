#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/mesh.h>

#include <thread>

#include "mesh/context.h"
#include "support/outcome.h"
#include "support/run_ranks.h"

namespace weft {
namespace {

using test::error_of;
using test::errors_of_ranks;
using test::run_ranks;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(DeviceMesh, IsInterned) {
  Mesh mesh = DeviceMesh::get({2, 4}, {"data", "model"});
  EXPECT_EQ(mesh, DeviceMesh::get({2, 4}, {"data", "model"}, {0, 1, 2, 3, 4, 5, 6, 7}, "cpu"));
  EXPECT_NE(mesh, DeviceMesh::get({2, 4}, {"data", "model"}, {}, "cuda"));
  EXPECT_NE(mesh, DeviceMesh::get({2, 4}, {"model", "data"}));
  EXPECT_NE(mesh, DeviceMesh::get({4, 2}, {"data", "model"}));
  EXPECT_NE(mesh, DeviceMesh::get({2, 4}, {"data", "model"}, {1, 0, 2, 3, 4, 5, 6, 7}));
  std::vector<Mesh> seen(8);
  std::vector<std::thread> threads;
  for (Mesh& slot : seen) threads.emplace_back([&slot] { slot = DeviceMesh::get({3}, {"x"}); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(seen, Each(DeviceMesh::get({3}, {"x"})));
}

TEST(DeviceMesh, KnowsItsAxesAndRanks) {
  Mesh mesh = DeviceMesh::get({2, 3}, {"data", "model"}, {5, 4, 3, 2, 1, 0});
  EXPECT_EQ(mesh->str(), "mesh (data=2, model=3)");
  EXPECT_EQ(mesh->axis("model"), 1);
  EXPECT_EQ(mesh->size(), 6);
  EXPECT_THAT(mesh->coordinates_of(5), ElementsAre(0, 0));
  EXPECT_THAT(mesh->coordinates_of(3), ElementsAre(0, 2));
  EXPECT_THAT(mesh->coordinates_of(1), ElementsAre(1, 1));
  EXPECT_THAT(mesh->coordinates_of(6), IsEmpty());
  EXPECT_THAT(error_of([&] { mesh->axis("batch"); }),
              HasSubstr("no axis 'batch' in mesh (data=2, model=3); its axes are: data, model"));
}

TEST(DeviceMesh, RefusesWhatIsNoGrid) {
  EXPECT_THAT(error_of([] { DeviceMesh::get({}, {}); }), HasSubstr("1 to 8 axes"));
  EXPECT_THAT(error_of([] { DeviceMesh::get(std::vector<int64_t>(9, 1), {}); }), HasSubstr("9"));
  EXPECT_THAT(error_of([] { DeviceMesh::get({2, 0}, {"a", "b"}); }), HasSubstr("axis 1 has size 0"));
  EXPECT_THAT(error_of([] { DeviceMesh::get({-2}, {"a"}); }), HasSubstr("size -2"));
  EXPECT_THAT(error_of([] { DeviceMesh::get({1 << 20, 1 << 20}, {"a", "b"}); }), HasSubstr("too many"));
  EXPECT_THAT(error_of([] { DeviceMesh::get({2, 2}, {"a"}); }), HasSubstr("1 axis names"));
  EXPECT_THAT(error_of([] { DeviceMesh::get({2, 2}, {"a", ""}); }), HasSubstr("empty name"));
  EXPECT_THAT(error_of([] { DeviceMesh::get({2, 2}, {"a", "a"}); }), HasSubstr("both named 'a'"));
  EXPECT_THAT(error_of([] { DeviceMesh::get({2, 2}, {"a", "b"}, {0, 1, 2}); }), HasSubstr("needs 4 devices, but 3"));
  EXPECT_THAT(error_of([] { DeviceMesh::get({2}, {"a"}, {1, 1}); }), HasSubstr("rank 1 is there twice"));
  EXPECT_THAT(error_of([] { DeviceMesh::get({2}, {"a"}, {0, -1}); }), HasSubstr("-1 is no rank"));
  EXPECT_THAT(error_of([] { DeviceMesh::get({2}, {"a"}, {}, "tpu"); }), HasSubstr("'tpu' is unknown"));
  const std::string lengthy(5000, 'x');
  EXPECT_THAT(error_of([&] { DeviceMesh::get({2}, {lengthy}); }), HasSubstr("of axis 0 is longer than 128 bytes"));
  EXPECT_THAT(error_of([] { DeviceMesh::get({2}, {"a\n"}); }), HasSubstr("'a\\x0a' of axis 0 has control characters"));
  EXPECT_THAT(error_of([] { DeviceMesh::get({2}, {"\xed\xa0\x80"}); }), HasSubstr("not UTF-8"));
  EXPECT_LT(error_of([&] { DeviceMesh::get({2}, {lengthy}); }).size(), 400u);
  EXPECT_LT(error_of([&] { DeviceMesh::get({2}, {"a"}, {}, lengthy); }).size(), 600u);
  EXPECT_LT(error_of([&] { DeviceMesh::get({2}, {"a"})->axis(lengthy); }).size(), 600u);
}

TEST(Context, AWorldOfOneNeedsNoGroups) {
  Context alone{{}};
  const MeshBinding& binding = alone.bind(DeviceMesh::get({1, 1}, {"data", "model"}));
  EXPECT_EQ(alone.rank(), 0);
  EXPECT_EQ(alone.world_size(), 1);
  EXPECT_THAT(binding.coordinates, ElementsAre(0, 0));
  EXPECT_THAT(binding.groups, ElementsAre(Group(), Group()));
}

TEST(Context, RefusesAMeshThatIsNotTheWorld) {
  Context alone{{}};
  EXPECT_THAT(error_of([&] { alone.bind(DeviceMesh::get({2, 4}, {"data", "model"})); }),
              HasSubstr("mesh (data=2, model=4) has 8 ranks, but the world has 1"));
  EXPECT_THAT(error_of([&] { alone.bind(DeviceMesh::get({1}, {"a"}, {3})); }), HasSubstr("names rank 3"));
  const auto errors = errors_of_ranks(3, [](int) { context().bind(DeviceMesh::get({2}, {"a"})); });
  EXPECT_THAT(errors, Each(HasSubstr("mesh (a=2) has 2 ranks, but the world has 3")));
}

TEST(Context, MakesOneGroupPerAxis) {
  run_ranks(6, [](int rank) {
    Mesh mesh = DeviceMesh::get({2, 1, 3}, {"data", "one", "model"});
    const MeshBinding& binding = context().bind(mesh);
    EXPECT_EQ(&binding, &context().bind(mesh));
    EXPECT_THAT(binding.coordinates, ElementsAre(rank / 3, 0, rank % 3));
    EXPECT_EQ(binding.groups[0]->getSize(), 2);
    EXPECT_EQ(binding.groups[0]->getRank(), rank / 3);
    EXPECT_FALSE(binding.groups[1]);
    EXPECT_EQ(binding.groups[2]->getSize(), 3);
    EXPECT_EQ(binding.groups[2]->getRank(), rank % 3);
    EXPECT_THAT(binding.group_ranks, Each(IsEmpty()));
    // A mesh that cuts the world alike shares the groups; one axis over all is the world itself.
    EXPECT_EQ(context().bind(DeviceMesh::get({2, 3}, {"a", "b"})).groups[1].get(), binding.groups[2].get());
    EXPECT_EQ(context().bind(DeviceMesh::get({6}, {"all"})).groups[0].get(), context().world().get());
  });
}

TEST(Context, NumbersRanksInAnyOrder) {
  run_ranks(4, [](int rank) {
    Mesh mesh = DeviceMesh::get({2, 2}, {"data", "model"}, {3, 1, 2, 0});
    const MeshBinding& binding = context().bind(mesh);
    // Lines along data: {3, 2} and {1, 0}, numbered by c10d from the lower rank on.
    EXPECT_THAT(binding.group_ranks[0], ElementsAre(1, 0));
    EXPECT_THAT(binding.group_ranks[1], ElementsAre(1, 0));
    EXPECT_EQ(binding.groups[0]->getRank(), binding.group_ranks[0][binding.coordinates[0]]) << rank;
  });
}

TEST(Context, AdoptsGroups) {
  run_ranks(4, [](int rank) {
    Mesh made = DeviceMesh::get({2, 2}, {"a", "b"});
    const std::vector<Group> groups = context().bind(made).groups;
    Mesh mesh = DeviceMesh::get({2, 2}, {"c", "d"});
    EXPECT_THAT(error_of([&] { context().adopt(mesh, {groups[0]}); }), HasSubstr("give one per axis"));
    EXPECT_THAT(error_of([&] { context().adopt(mesh, {groups[0], context().world()}); }), HasSubstr("it needs 2"));
    context().adopt(mesh, groups);
    EXPECT_EQ(context().bind(mesh).groups, groups);
    context().adopt(mesh, {});  // a mesh that is bound keeps what it has
    EXPECT_EQ(context().bind(mesh).groups, groups) << rank;
  });
}

TEST(Context, KeepsTheWorldOnceItIsInUse) {
  run_ranks(2, [](int) {
    Context late{{}};
    late.bind(DeviceMesh::get({1}, {"a"}));
    late.set_world(context().world());
    EXPECT_EQ(late.world_size(), 2);
    late.bind(DeviceMesh::get({2}, {"a"}));
    late.set_world(context().world());
    EXPECT_THAT(error_of([&] { late.set_world({}); }), HasSubstr("mesh (a=2) already communicates"));
  });
}

struct Counter : ContextState {
  int value = 0;
};
struct Outer : ContextState {
  Outer() : inner(&context().state<Counter>()) {}
  Counter* inner;
};

TEST(Context, KeepsStatePerContext) {
  Context one{{}}, two{{}};
  one.state<Counter>().value = 1;
  two.state<Counter>().value = 2;
  EXPECT_EQ(one.state<Counter>().value, 1);
  EXPECT_EQ(two.state<Counter>().value, 2);
  {
    const ContextGuard guard(&one);
    EXPECT_EQ(&context(), &one);
    EXPECT_EQ(context().state<Outer>().inner->value, 1);
    {
      const ContextGuard inner(&two);
      EXPECT_EQ(&context(), &two);
    }
    EXPECT_EQ(&context(), &one);
  }
  EXPECT_NE(&context(), &one);
  std::vector<Counter*> seen(4);
  std::vector<std::thread> threads;
  Context three{{}};
  for (Counter*& slot : seen) threads.emplace_back([&] { slot = &three.state<Counter>(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(seen, Each(&three.state<Counter>()));
}

TEST(DeviceMesh, SimulatedOnesHaveNoProcesses) {
  const Mesh mesh = DeviceMesh::simulate({2, 3}, {"a", "b"}, 4);
  EXPECT_TRUE(mesh->is_simulated());
  EXPECT_EQ(mesh, DeviceMesh::simulate({2, 3}, {"a", "b"}, 4));
  EXPECT_NE(mesh, DeviceMesh::simulate({2, 3}, {"a", "b"}, 5));
  EXPECT_NE(mesh, DeviceMesh::get({2, 3}, {"a", "b"}));
  Context alone{{}};
  const MeshBinding& bound = alone.bind(mesh);
  EXPECT_THAT(bound.coordinates, ElementsAre(1, 1));
  EXPECT_THAT(bound.groups, Each(Group()));
  EXPECT_THROW(DeviceMesh::simulate({2, 3}, {"a", "b"}, 6), c10::ValueError);
}

}  // namespace
}  // namespace weft
