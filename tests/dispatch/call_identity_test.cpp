// Calls that differ in anything all ranks share have identities of their own.
#include "dispatch/call_identity.h"

#include "dispatch/names.h"

namespace weft {
namespace {

CallIdentity identity(const std::string& op, const Values& arguments) {
  const OpInfo info(test::op_named(op));
  TORCH_INTERNAL_ASSERT(info.arguments.size() == arguments.size());
  return identify(info, arguments.data());
}
Identity of(const std::string& op, const Values& arguments) { return identity(op, arguments).identity; }

// Both arguments of `op` in place of its second one, the rest after it.
void expect_differ(const std::string& op, const at::Tensor& x, const c10::IValue& one, const c10::IValue& other,
                   const Values& rest = {}) {
  Values first{x, one}, second{x, other};
  first.insert(first.end(), rest.begin(), rest.end());
  second.insert(second.end(), rest.begin(), rest.end());
  EXPECT_EQ(of(op, first), of(op, first)) << op;
  EXPECT_NE(of(op, first), of(op, second)) << op << " " << one << " " << other;
}

at::Tensor laid_out() { return distribute_tensor(at::ones({4, 2}), TensorLayout::from_names(line(1), {{"x"}, {}})); }

TEST(CallIdentity, TellsArgumentsOfEachKindApart) {
  run_ranks(1, [](int) {
    const at::Tensor x = laid_out();
    const c10::IValue none;
    expect_differ("unsqueeze", x, 0, 1);
    expect_differ("sum", x, none, at::kDouble);
    expect_differ("mul.Scalar", x, 2., 3.);
    expect_differ("mul.Scalar", x, c10::complex<double>(1, 2), c10::complex<double>(1, 3));
    expect_differ("view", x, std::vector<int64_t>{8, 1}, std::vector<int64_t>{1, 8});
    expect_differ("logsumexp", x, std::vector<int64_t>{0, 1}, std::vector<int64_t>{0}, {false});
    expect_differ("cumsum", x, 0, 1, {none});
    expect_differ("upsample_nearest1d", x, std::vector<int64_t>{3}, none, {std::vector<double>{0.5}});
    const at::Tensor y = laid_out();
    EXPECT_NE(of("div.Tensor_mode", {x, y, "floor"}), of("div.Tensor_mode", {x, y, "trunc"}));
    EXPECT_NE(of("logsumexp", {x, std::vector<int64_t>{0}, true}),
              of("logsumexp", {x, std::vector<int64_t>{0}, false}));
  });
}

TEST(CallIdentity, IsThatOfTheOpWhetherInPlaceOrNot) {
  run_ranks(1, [](int) {
    const at::Tensor x = laid_out();
    EXPECT_EQ(of("relu", {x}), of("relu_", {x}));
    EXPECT_NE(of("relu", {x}), of("sigmoid", {x}));
    EXPECT_NE(of("mul.Scalar", {x, 2.}), of("add.Scalar", {x, 2., 1.}));
  });
}

TEST(CallIdentity, FollowsTheOperandsAndTheirOrder) {
  run_ranks(1, [](int) {
    const at::Tensor x = laid_out(), y = x.mul(2);
    ASSERT_NE(sharded(x).identity(), sharded(y).identity());
    EXPECT_NE(of("sub.Tensor", {x, y, 1}), of("sub.Tensor", {y, x, 1}));
    EXPECT_NE(of("cat", {c10::List<at::Tensor>({x, y}), 0}), of("cat", {c10::List<at::Tensor>({y, x}), 0}));
    EXPECT_NE(of("cat", {c10::List<at::Tensor>({x, y}), 0}), of("cat", {c10::List<at::Tensor>({x}), 0}));
  });
}

TEST(CallIdentity, OfACopyIsThatOfItsOperand) {
  run_ranks(1, [](int) {
    const at::Tensor x = laid_out();
    EXPECT_EQ(of("clone", {x, c10::IValue()}), sharded(x).identity());
  });
}

TEST(CallIdentity, SamplesPlainOperandsThatAreRead) {
  run_ranks(1, [](int) {
    const at::Tensor x = laid_out(), plain = at::zeros({4, 2}), other = at::ones({4, 2});
    EXPECT_NE(of("mul.Tensor", {x, plain}), of("mul.Tensor", {x, other}));
    EXPECT_EQ(of("mul.Tensor", {x, plain}), of("mul.Tensor", {x, plain.clone()}));
    EXPECT_EQ(of("mul.out", {x, x, plain}), of("mul.out", {x, x, other}));  // only written
  });
}

TEST(CallIdentity, LeavesOutWhatIsScaledByZero) {
  run_ranks(1, [](int) {
    const at::Tensor x = laid_out(), y = at::ones({2, 3}), plain = at::zeros({4, 3}), other = at::ones({4, 3});
    const auto scaled = [&](const at::Tensor& self, const c10::IValue& beta) {
      return of("addmm", {self, x, y, beta, 1});
    };
    EXPECT_EQ(scaled(plain, 0), scaled(other, 0));
    EXPECT_EQ(scaled(plain, 0.), scaled(other, 0.));
    EXPECT_EQ(scaled(plain, false), scaled(other, false));
    EXPECT_NE(scaled(plain, 1), scaled(other, 1));
    EXPECT_NE(scaled(plain, 0), of("addmm", {plain, x, at::zeros({2, 3}), 0, 1}));  // the others are read
    EXPECT_EQ(of("addmm.out", {plain, x, y, 0, 1, x}), of("addmm.out", {other, x, y, 0, 1, x}));
  });
}

TEST(CallIdentity, LeavesOutWhatMayDifferBetweenRanks) {
  run_ranks(1, [](int) {
    const at::Tensor x = laid_out();
    const c10::IValue none;
    const auto like = [&](const c10::IValue& device) { return of("zeros_like", {x, none, none, device, none, none}); };
    EXPECT_EQ(like(at::Device("cpu")), like(at::Device("meta")));
  });
}

TEST(CallIdentity, HasThePathOfTheFirstVariable) {
  run_ranks(1, [](int) {
    const at::Tensor x = laid_out(), y = laid_out(), z = laid_out();
    set_path(y, "up/weight");
    set_path(z, "up/bias");
    EXPECT_EQ(identity("mul.Tensor", {x, x}).path, nullptr);
    EXPECT_EQ(*identity("cat", {c10::List<at::Tensor>({x, y, z}), 0}).path, "up/weight");
  });
}

struct ChecksPlain {
  ChecksPlain() { set_check_plain(true); }
  ~ChecksPlain() { set_check_plain(false); }
};

TEST(CheckPlain, LeavesOutWhatIsScaledByZero) {
  const ChecksPlain on;
  const auto errors = errors_of_ranks(2, [](int rank) {
    const at::Tensor x = distribute_tensor(at::ones({4, 2}), TensorLayout::from_names(line(2), {{}, {"x"}}));
    const at::Tensor sum = at::full({4, 4}, static_cast<float>(rank)).addmm(x, at::ones({2, 4}), 0);
    EXPECT_TRUE(full_tensor(sum).equal(at::full({4, 4}, 2.f)));
  });
  EXPECT_THAT(errors, Each(""));
}

TEST(CheckPlain, ComparesEveryValueOfAPlainOperand) {
  const ChecksPlain on;
  const auto errors = errors_of_ranks(3, [](int rank) {
    const at::Tensor x = distribute_tensor(at::ones({1000}), TensorLayout::from_names(line(3), {{"x"}}));
    const at::Tensor plain = at::zeros({1000});
    x.mul(plain);
    if (rank == 1) plain[777].fill_(1);
    x.mul(plain);
  });
  EXPECT_THAT(errors,
              Each(HasSubstr("[mul.Tensor] the plain operand 'other' of shape [1000] counts as the same value on "
                             "all ranks, and must be the same on all ranks, but rank 1 differs")));
}

}  // namespace
}  // namespace weft
