// The plan of a GPU's copy, carried out word by word on the CPU as the kernel does it.
#include "comm/wire/plan_copy.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <vector>

#include "comm/wire/pack.h"

namespace weft::comm {
namespace {

void carry_out(const StridedCopy& copy, const at::Tensor& to, const at::Tensor& from) {
  auto* target = static_cast<char*>(to.mutable_data_ptr());
  const auto* source = static_cast<const char*>(from.const_data_ptr());
  std::set<int64_t> written;
  for (uint32_t i = 0; i < copy.words; ++i) {
    const StridedCopy::Place place = copy.place(i);
    EXPECT_TRUE(written.insert(place.to).second) << "word " << place.to << " is written twice";
    std::memcpy(target + place.to * copy.width, source + place.from * copy.width, copy.width);
  }
}

// Copies all but what has no plan, and says how wide the words were; 0: no plan.
int width_of_copy(const at::Tensor& to, const at::Tensor& from) {
  const auto copy = plan_copy(to, from);
  if (!copy) return 0;
  carry_out(*copy, to, from);
  EXPECT_TRUE(at::equal(to, from)) << to.sizes() << " of strides " << to.strides() << " from " << from.strides();
  return copy->width;
}

at::Tensor numbers(at::IntArrayRef sizes, at::ScalarType dtype) {
  return at::arange(product(sizes)).remainder_(113).view(sizes).to(dtype);
}

TEST(PlanCopy, DivisionWithoutADivision) {
  constexpr uint32_t kMost = (uint32_t{1} << 31) - 1;
  for (uint32_t by : {1u, 2u, 3u, 5u, 7u, 641u, 65536u, 65537u, 1u << 30, (1u << 30) + 1, kMost - 1, kMost}) {
    const Divisor divisor(by);
    for (uint64_t times = 0; times * by <= kMost; times = times * 3 + 1) {
      const auto n = static_cast<uint32_t>(times * by);
      for (const uint32_t near : {n, n + by - 1, n > 0 ? n - 1 : 0}) {
        if (near <= kMost) EXPECT_EQ(divisor.quotient(near), near / by) << near << " by " << by;
      }
    }
    EXPECT_EQ(divisor.quotient(kMost), kMost / by);
  }
}

TEST(PlanCopy, PiecesOfADimension) {
  for (const auto dtype : {at::kByte, at::kBFloat16, at::kInt, at::kDouble, at::kComplexDouble}) {
    const at::Tensor x = numbers({3, 8, 16}, dtype);
    for (const int64_t dim : {1, 2}) {  // pieces of the first lie as they are
      const at::Tensor pieces = x.unflatten(dim, {2, -1}).movedim(dim, 0);
      const at::Tensor packed = at::empty(pieces.sizes(), pieces.options());
      const int64_t row = static_cast<int64_t>(x.element_size()) * (dim == 1 ? 64 : 8);
      EXPECT_EQ(width_of_copy(packed, pieces), std::min<int64_t>(row, 16)) << dtype;
      EXPECT_EQ(width_of_copy(at::empty_like(x).unflatten(dim, {2, -1}).movedim(dim, 0), packed),
                std::min<int64_t>(row, 16));
    }
  }
}

TEST(PlanCopy, WordsAreAsNarrowAsTheMemoryAsks) {
  const at::Tensor x = numbers({4, 32}, at::kFloat);
  const auto from = [&](int64_t start, int64_t length) {
    const at::Tensor part = x.narrow(1, start, length);
    return width_of_copy(at::empty(part.sizes(), part.options()), part);
  };
  EXPECT_EQ(from(0, 16), 16);
  EXPECT_EQ(from(2, 16), 8);  // where the first one lies
  EXPECT_EQ(from(1, 16), 4);
  EXPECT_EQ(from(0, 6), 8);  // how long a row is
  EXPECT_EQ(from(0, 5), 4);
  const at::Tensor odd = numbers({4, 33}, at::kFloat).narrow(1, 0, 16);  // how far rows are apart
  EXPECT_EQ(width_of_copy(at::empty(odd.sizes(), odd.options()), odd), 4);
  const at::Tensor one = numbers({}, at::kDouble);
  EXPECT_EQ(width_of_copy(at::empty_like(one), one), 8);
  const at::Tensor whole = numbers({7, 8}, at::kFloat);
  EXPECT_EQ(width_of_copy(at::empty_like(whole), whole), 16);
}

TEST(PlanCopy, AnyOrderOfDimensions) {
  const at::Tensor x = numbers({3, 4, 5, 6}, at::kShort);
  for (const std::vector<int64_t>& order :
       {std::vector<int64_t>{0, 2, 1, 3}, {2, 1, 0, 3}, {1, 2, 0, 3}, {2, 0, 1, 3}}) {
    const at::Tensor from = x.permute(order), to = at::empty(from.sizes(), from.options());
    EXPECT_EQ(width_of_copy(to, from), 4);
    const at::Tensor back = at::empty_like(x);
    EXPECT_EQ(width_of_copy(back.permute(order), to), 4);
    EXPECT_TRUE(at::equal(back, x));
  }
  // The same order in both memories is no change.
  const at::Tensor last = x.contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_EQ(width_of_copy(at::empty_like(last), last), 16);
  const at::Tensor expanded = numbers({1, 6}, at::kShort).expand({4, 6});
  EXPECT_EQ(width_of_copy(at::empty({4, 6}, at::kShort), expanded), 4);
}

TEST(PlanCopy, NoneForWhatItIsNotMadeFor) {
  const at::Tensor x = numbers({4, 6}, at::kFloat);
  EXPECT_FALSE(plan_copy(at::empty({6, 4}), x.t()));
  EXPECT_FALSE(plan_copy(at::empty({0, 4}), x.narrow(0, 0, 0)));
  const at::Tensor many = numbers({2, 2, 2, 2, 2, 2, 2, 4}, at::kFloat);
  EXPECT_FALSE(plan_copy(at::empty({2, 2, 2, 2, 2, 2, 2, 4}), many.permute({6, 5, 4, 3, 2, 1, 0, 7})));
}

TEST(PlanCopy, PackedPiecesAreThoseOfCore) {
  const at::Tensor x = numbers({3, 10, 4}, at::kFloat);
  for (const std::vector<int64_t>& lengths :
       {std::vector<int64_t>{4, 4, 2}, {2, 2, 2, 2, 2}, {5, 0, 5}, {1, 3, 3, 3}}) {
    std::vector<int64_t> sequence(lengths.size()), starts(lengths.size());
    for (size_t i = 0; i < lengths.size(); ++i) {
      sequence[i] = static_cast<int64_t>(lengths.size() - 1 - i);
      if (i > 0) starts[i] = starts[i - 1] + lengths[i - 1];
    }
    for (const int64_t padded : {int64_t{0}, int64_t{61}}) {
      for (const auto& order : {std::vector<int64_t>{}, sequence}) {
        const at::Tensor flat = pack(x, 1, lengths, order, padded);
        int64_t offset = 0;
        for (size_t p = 0; p < lengths.size(); ++p) {
          const int64_t i = order.empty() ? static_cast<int64_t>(p) : order[p], n = lengths[i] * 12;
          EXPECT_TRUE(at::equal(flat.narrow(0, offset, n), x.narrow(1, starts[i], lengths[i]).reshape({-1})));
          offset += std::max(n, padded);
        }
        EXPECT_EQ(flat.numel(), offset);
      }
    }
  }
}

}  // namespace
}  // namespace weft::comm
