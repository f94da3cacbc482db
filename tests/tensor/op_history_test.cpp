#include "tensor/op_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weft {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

OpHistory::Op op(const char* name, Identity tensors = 1, uint64_t values = 2, uint64_t plain = 0,
                 const char* operand = nullptr) {
  return {.name = name, .tensors = tensors, .values = values, .plain = plain, .plain_operand = operand};
}

std::string difference(const OpHistory& mine, const OpHistory& theirs) {
  return OpHistory::first_difference(mine.text(), theirs.text(), 0, 1);
}

TEST(OpHistory, NamesTheFirstOpThatDiffers) {
  OpHistory mine, theirs;
  for (OpHistory* h : {&mine, &theirs}) {
    h->note_collectives(4);
    h->add(op("mm"));
  }
  EXPECT_THAT(difference(mine, theirs), IsEmpty());
  mine.add(op("mul.Tensor"));
  theirs.add(op("add.Tensor"));
  EXPECT_THAT(difference(mine, theirs), HasSubstr("rank 0 ran [mul.Tensor] where rank 1 ran [add.Tensor]"));
  EXPECT_THAT(OpHistory::first_difference(theirs.text(), mine.text(), 1, 0),
              HasSubstr("rank 0 ran [mul.Tensor] where rank 1 ran [add.Tensor]"));
}

TEST(OpHistory, TellsWhatOfAnOpDiffers) {
  for (const auto& [first, second, what] :
       {std::tuple(op("mm", 1), op("mm", 9), "[mm]: its sharded operands are not the same values"),
        std::tuple(op("mm", 1, 2), op("mm", 1, 3), "[mm]: its arguments that are not tensors differ"),
        std::tuple(op("mm", 1, 2, 7, "mat2"), op("mm", 1, 2, 8, "mat2"), "[mm]: its operand 'mat2', a plain tensor"),
        std::tuple(op(OpHistory::kRandom, 0, 1), op(OpHistory::kRandom, 0, 2), "random generators")}) {
    OpHistory mine, theirs;
    mine.add(first);
    theirs.add(second);
    EXPECT_THAT(difference(mine, theirs), HasSubstr(what));
  }
}

TEST(OpHistory, ComparesOpsBetweenTheSameCollectivesOnly) {
  OpHistory mine, theirs;
  mine.add(op("log"));  // harmless, on one rank alone, before a collective that both know of
  for (OpHistory* h : {&mine, &theirs}) {
    h->note_collectives(1);
    h->add(op("mm"));
  }
  EXPECT_THAT(difference(mine, theirs), IsEmpty());
}

TEST(OpHistory, IsBounded) {
  OpHistory mine, theirs;
  for (int i = 0; i < 1000; ++i) mine.add(op("mm"));
  EXPECT_LT(mine.text().size(), 8u << 10);
  EXPECT_THAT(difference(mine, theirs), IsEmpty());
  EXPECT_THAT(OpHistory::first_difference(mine.text(), "any text at all", 0, 1), IsEmpty());
}

}  // namespace
}  // namespace weft
