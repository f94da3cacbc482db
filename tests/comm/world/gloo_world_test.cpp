// Real processes over Gloo: this test program starts itself again, one process per rank, to run one test of its own.
#include "comm/world/gloo_world.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <weft/distributed.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "comm/agree/check_same.h"
#include "comm/names.h"
#include "comm/wire/collectives.h"
#include "mesh/context.h"

extern char** environ;

namespace weft::comm {
namespace {

constexpr std::chrono::seconds kLimit{60};

struct Child {
  pid_t id = 0;
  int status = -1;
  bool over = false;
};

// Starts `ranks` processes that run only this file's test `part`, with variables per rank, and waits for them.
std::vector<Child> run_processes(int ranks, const std::string& part,
                                 const std::function<std::map<std::string, std::string>(int rank)>& variables) {
  std::vector<Child> children(ranks);
  for (int rank = 0; rank < ranks; ++rank) {
    auto set = variables(rank);
    set.emplace("OMP_NUM_THREADS", "1");
    std::vector<std::string> texts;
    for (const auto& [name, value] : set) texts.push_back(name + "=" + value);
    for (char** e = environ; *e != nullptr; ++e) {
      const std::string text = *e;
      const std::string name = text.substr(0, text.find('='));
      if (name.rfind("GTEST_", 0) != 0 && set.count(name) == 0) texts.push_back(text);
    }
    std::vector<char*> pointers;
    for (std::string& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    std::vector<std::string> words{"weft_tests", "--gtest_filter=" + part, "--gtest_also_run_disabled_tests",
                                   "--gtest_brief=1"};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    char path[4096] = {};
    if (readlink("/proc/self/exe", path, sizeof(path) - 1) < 0) std::abort();
    if (posix_spawn(&children[rank].id, path, nullptr, nullptr, arguments.data(), pointers.data()) != 0) std::abort();
  }
  const auto deadline = std::chrono::steady_clock::now() + kLimit;
  for (bool all_over = false; !all_over;) {
    all_over = true;
    for (Child& child : children) {
      if (!child.over) child.over = waitpid(child.id, &child.status, WNOHANG) == child.id;
      all_over = all_over && child.over;
    }
    if (!all_over && std::chrono::steady_clock::now() > deadline) {
      for (Child& child : children) {
        if (child.over) continue;
        kill(child.id, SIGKILL);
        waitpid(child.id, &child.status, 0);
        child.over = true;
      }
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return children;
}

void expect_success(const std::vector<Child>& children) {
  for (size_t rank = 0; rank < children.size(); ++rank) {
    const int status = children[rank].status;
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << "process " << rank << (WIFSIGNALED(status) ? " died of signal " : " ended with code ")
        << (WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  }
}

int free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) std::abort();
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  close(fd);
  return ntohs(address.sin_port);
}

// Every collective on every kind of dtype, on a grid of 2 x 2 whose ranks are out of order, or a line of n.
void exercise() {
  const int64_t n = world_size();
  Mesh mesh = n == 4 ? DeviceMesh::get({2, 2}, {"a", "b"}, {2, 0, 3, 1}) : DeviceMesh::get({n}, {"a"});
  const auto& mine = context().bind(mesh).coordinates;
  for (int axis = 0; axis < mesh->ndim(); ++axis) {
    const int64_t size = mesh->axis_size(axis), me = mine[axis];
    for (at::ScalarType dtype : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kByte, at::kChar, at::kShort,
                                 at::kInt, at::kLong, at::kBool, at::kComplexFloat, at::kUInt16}) {
      const std::string what = c10::str(dtype, " on axis ", axis);
      const at::ScalarType wide = dtype == at::kComplexFloat ? at::kComplexDouble : at::kDouble;
      auto check = [&](const at::Tensor& got, const at::Tensor& expected, const char* name) {
        ASSERT_EQ(got.sizes(), expected.sizes()) << name << " of " << what;
        EXPECT_TRUE(at::equal(got.to(wide), expected.to(wide))) << name << " of " << what << got << expected;
      };
      auto part = [&](int64_t c) { return (at::arange(12, at::kLong).view({3, 4}).remainder(2) + c).to(dtype); };
      at::Tensor sum = at::zeros({3, 4}, wide);
      for (int64_t c = 0; c < size; ++c) sum += part(c).to(wide);
      const at::Tensor total = sum.to(dtype);
      check(all_reduce(part(me), Reduction::sum, mesh, axis), total, "all_reduce");
      if (dtype != at::kComplexFloat) {
        check(all_reduce(part(me), Reduction::max, mesh, axis), part(size - 1), "max");
      }
      for (int64_t dim : {0, 1}) {
        std::vector<int64_t> lengths(size, 1);  // uneven, and empty for some where there are three or more
        lengths[0] = total.size(dim) - 1;
        for (int64_t c = 2; c < size; ++c) lengths[c] = 0;
        const int64_t start = me == 0 ? 0 : lengths[0] + (me > 1);
        const at::Tensor shard = total.narrow(dim, start, lengths[me]);
        check(all_gather(shard, dim, lengths, mesh, axis), total, "all_gather");
        check(reduce_scatter(part(me), dim, lengths, Reduction::sum, mesh, axis), shard, "reduce_scatter");
        std::vector<int64_t> others(size, 0);
        others[size - 1] = total.size(1 - dim);
        const at::Tensor moved = all_to_all(shard, 1 - dim, others, dim, lengths, mesh, axis);
        check(moved, me == size - 1 ? total : total.narrow(1 - dim, 0, 0), "all_to_all");
      }
      check(broadcast(part(me), size - 1, mesh, axis), part(size - 1), "broadcast");
    }
    at::Tensor x = at::full({5}, me, at::kFloat), y = at::full({2, 2}, 2 * me, at::kFloat);
    all_reduce_coalesced_({x, y}, Reduction::avg, mesh, axis)->wait();
    EXPECT_EQ(x[0].item<float>(), (size - 1) / 2.0f);
    EXPECT_EQ(y[1][1].item<float>(), size - 1.0f);
    const at::Tensor row = at::arange(5, at::kFloat) + me;
    std::vector<int64_t> lengths(size, 1);
    lengths[0] = 5 - (size - 1);
    const auto pending =
        reduce_scatter_coalesced({{row, 0, lengths}, {row.view({1, 5}), 1, lengths}}, Reduction::avg, mesh, axis);
    const at::Tensor mean = at::arange(5, at::kFloat) + (size - 1) / 2.0f;
    const at::Tensor mine = mean.narrow(0, me == 0 ? 0 : lengths[0] + me - 1, lengths[me]);
    EXPECT_TRUE(at::allclose(pending->wait(), at::cat({mine, mine})));
    EXPECT_EQ(all_gather(at::empty({0, 3}), 0, std::vector<int64_t>(size, 0), mesh, axis).size(0), 0);
    EXPECT_EQ(all_reduce(at::empty({0}), Reduction::sum, mesh, axis).numel(), 0);
  }
  check_same({1, 2}, "words", mesh);
  try {
    check_same({rank() == 1}, "words", mesh);
    ADD_FAILURE() << "a difference went unseen";
  } catch (const c10::ValueError& e) {
    EXPECT_THAT(e.what_without_backtrace(), HasSubstr(n == 2 ? "rank 1 differs from rank 0" : "but rank 1 differs"));
  }
}

// ---- what a child process does; disabled, so that only run_processes runs it ----

TEST(GlooChild, DISABLED_MeetsInAFile) {
  const int rank = std::atoi(std::getenv("WEFT_TEST_RANK")), size = std::atoi(std::getenv("WEFT_TEST_SIZE"));
  context().set_world(make_gloo_world(std::getenv("WEFT_TEST_FILE"), rank, size, std::chrono::seconds(20)));
  exercise();
}

TEST(GlooChild, DISABLED_Initializes) {
  initialize();
  EXPECT_EQ(world_size(), 2);
  exercise();
}

TEST(GlooChild, DISABLED_LosesItsNeighbour) {
  const int rank = std::atoi(std::getenv("WEFT_TEST_RANK"));
  context().set_world(make_gloo_world(std::getenv("WEFT_TEST_FILE"), rank, 2, std::chrono::seconds(3)));
  Mesh mesh = DeviceMesh::get({2}, {"a"});
  all_reduce(at::ones({2}), Reduction::sum, mesh, 0);
  if (rank == 1) return;
  EXPECT_THROW(all_reduce(at::ones({2}), Reduction::sum, mesh, 0), std::exception);
}

TEST(GlooChild, DISABLED_LeavesACollective) {
  initialize();
  if (rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  std::vector<at::Tensor> tensors{at::ones({2})};
  context().world()->allreduce(tensors);
}

// ---- the parents ----

class Gloo : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/weft_gloo_XXXXXX";
    folder_ = mkdtemp(name);
  }
  void TearDown() override {
    if (folder_.empty()) return;
    unlink((folder_ + "/store").c_str());
    rmdir(folder_.c_str());
  }
  std::function<std::map<std::string, std::string>(int)> in_file(int ranks) {
    return [this, ranks](int rank) {
      return std::map<std::string, std::string>{{"WEFT_TEST_FILE", folder_ + "/store"},
                                                {"WEFT_TEST_RANK", std::to_string(rank)},
                                                {"WEFT_TEST_SIZE", std::to_string(ranks)}};
    };
  }
  std::string folder_;
};

TEST_F(Gloo, TwoProcessesMeetInAFile) {
  expect_success(run_processes(2, "GlooChild.DISABLED_MeetsInAFile", in_file(2)));
}

TEST_F(Gloo, FourProcessesOnAGrid) { expect_success(run_processes(4, "GlooChild.DISABLED_MeetsInAFile", in_file(4))); }

TEST_F(Gloo, ThreeProcessesWithEmptyParts) {
  expect_success(run_processes(3, "GlooChild.DISABLED_MeetsInAFile", in_file(3)));
}

TEST_F(Gloo, InitializesFromTorchrunsVariables) {
  const std::string port = std::to_string(free_port());
  for (const char* part : {"GlooChild.DISABLED_Initializes", "GlooChild.DISABLED_LeavesACollective"}) {
    expect_success(run_processes(2, part, [&](int rank) {
      return std::map<std::string, std::string>{
          {"RANK", std::to_string(rank)}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", port}};
    }));
  }
}

TEST_F(Gloo, InitializesFromKerassVariables) {
  const std::string address = "localhost:" + std::to_string(free_port());
  expect_success(run_processes(2, "GlooChild.DISABLED_Initializes", [&](int rank) {
    return std::map<std::string, std::string>{{"KERAS_DISTRIBUTION_JOB_ADDRESSES", address},
                                              {"KERAS_DISTRIBUTION_NUM_PROCESSES", "2"},
                                              {"KERAS_DISTRIBUTION_PROCESS_ID", std::to_string(rank)}};
  }));
}

TEST_F(Gloo, ALostNeighbourIsAnError) {
  expect_success(run_processes(2, "GlooChild.DISABLED_LosesItsNeighbour", in_file(2)));
}

}  // namespace
}  // namespace weft::comm
