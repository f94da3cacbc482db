// The parser of the rule notation: what it reads, and that it says where a text does not fit.
#include <gtest/gtest.h>

#include "rules/rule.h"
#include "support/outcome.h"

namespace weft::rules {
namespace {

std::string error_of(const std::string& text) {
  return test::error_of([&] { parse(text); });
}

TEST(Notation, Contraction) {
  const Rule r = parse("+m n, m k, k n -> m n;  sum k;  linear 1|2");
  ASSERT_EQ(r.operands.size(), 3u);
  ASSERT_EQ(r.results.size(), 1u);
  EXPECT_TRUE(r.operands[0].added_once);
  EXPECT_FALSE(r.operands[1].added_once);
  ASSERT_EQ(r.operands[1].tokens.size(), 2u);
  EXPECT_EQ(r.operands[1].tokens[0].name, "m");
  EXPECT_EQ(r.operands[1].tokens[1].name, "k");
  ASSERT_EQ(r.attributes.size(), 2u);
  EXPECT_EQ(r.attributes[0].kind, Attribute::reduce);
  EXPECT_EQ(r.attributes[0].factor, "k");
  EXPECT_EQ(r.attributes[0].reduction, Reduction::sum);
  EXPECT_EQ(r.attributes[1].groups, (std::vector<std::vector<int>>{{1}, {2}}));
}

TEST(Notation, BatchFactorsAndEdits) {
  const Rule r = parse("... -> ...-@dim, ...+@dim, ...~@dim;  max @dim");
  EXPECT_EQ(r.operands[0].tokens[0].kind, Token::batch);
  EXPECT_EQ(r.operands[0].tokens[0].edit, 0);
  EXPECT_EQ(r.results[0].tokens[0].edit, '-');
  EXPECT_EQ(r.results[1].tokens[0].edit, '+');
  EXPECT_EQ(r.results[2].tokens[0].edit, '~');
  EXPECT_EQ(r.results[0].tokens[0].argument, "dim");
  EXPECT_EQ(r.attributes[0].factor, "@dim");
}

TEST(Notation, FoldedEntriesOnesAndPrefixes) {
  const Rule r = parse("b (g i) ..., ?#n@shape, *1 1@shape -> b (g i) ..., n@shape");
  EXPECT_EQ(r.operands[0].tokens[1].parts, (std::vector<std::string>{"g", "i"}));
  EXPECT_TRUE(r.operands[1].optional && r.operands[1].shape_only);
  EXPECT_EQ(r.operands[1].tokens[0].kind, Token::entries);
  EXPECT_EQ(r.operands[1].tokens[0].argument, "shape");
  EXPECT_TRUE(r.operands[2].list);
  EXPECT_EQ(r.operands[2].tokens[0].kind, Token::one);
  EXPECT_EQ(r.operands[2].tokens[1].kind, Token::entries);
  EXPECT_TRUE(r.operands[2].tokens[1].name.empty());
}

TEST(Notation, Attributes) {
  const Rule r = parse(
      "v d, j c -> d c;  masked v 1 ignore @pad;  whole j via softmax;  size d c @sizes.1;  when mode=2;  unless "
      "train;  exact;"
      "  carry 0+1;  linear *;  free d");
  ASSERT_EQ(r.attributes.size(), 9u);
  EXPECT_EQ(r.attributes[0].index_operand, 1);
  EXPECT_EQ(r.attributes[0].argument, "pad");
  EXPECT_EQ(r.attributes[1].via, "softmax");
  EXPECT_EQ(r.attributes[2].product, (std::vector<std::string>{"d", "c"}));
  EXPECT_EQ(r.attributes[2].argument, "sizes");
  EXPECT_EQ(r.attributes[2].entry, 1);
  EXPECT_EQ(r.attributes[3].kind, Attribute::when);
  EXPECT_EQ(r.attributes[3].value, 2);
  EXPECT_EQ(r.attributes[4].kind, Attribute::unless);
  EXPECT_EQ(r.attributes[4].value, -1);
  EXPECT_EQ(r.attributes[5].kind, Attribute::exact);
  EXPECT_EQ(r.attributes[6].groups, (std::vector<std::vector<int>>{{0, 1}}));
  EXPECT_EQ(r.attributes[7].groups, (std::vector<std::vector<int>>{{-1}}));
  EXPECT_EQ(r.attributes[8].kind, Attribute::free);
}

TEST(Notation, NoDimensions) {
  const Rule r = parse("k, k -> ;  sum k");
  ASSERT_EQ(r.results.size(), 1u);
  EXPECT_TRUE(r.results[0].tokens.empty());
}

TEST(Notation, ErrorsSayWhere) {
  EXPECT_NE(error_of("m k, k n").find("expected '->' at column 9"), std::string::npos) << error_of("m k, k n");
  EXPECT_NE(error_of("m (k) -> m (k)").find("two factors or more at column 6"), std::string::npos)
      << error_of("m (k) -> m (k)");
  EXPECT_NE(error_of("m ! -> m").find("expected a name at column 3"), std::string::npos) << error_of("m ! -> m");
  EXPECT_NE(error_of("m -> m; linear 99999999999").find("expected an operand's number"), std::string::npos);
  EXPECT_NE(error_of(std::string(5000, 'm') + " -> m").find("a name of more than 64 letters"), std::string::npos);
  EXPECT_LT(error_of(std::string(5000, ' ') + "m -> (").size(), 600u);
  EXPECT_NE(error_of("m -> m; linear x").find("expected an operand's number at column 17"), std::string::npos)
      << error_of("m -> m; linear x");
  EXPECT_NE(error_of("m -> m; sum m extra").find("expected ';' or the end at column 15"), std::string::npos)
      << error_of("m -> m; sum m extra");
  EXPECT_NE(error_of("m -> m; fold m").find("unknown attribute 'fold'"), std::string::npos);
  EXPECT_NE(error_of("m -> m; fold m").find("at column 9"), std::string::npos) << error_of("m -> m; fold m");
  EXPECT_NE(error_of("mk k -> mk").find("at column 4"), std::string::npos) << error_of("mk k -> mk");
}

TEST(Notation, AFactorThatNoResultHasNeedsAnAttribute) {
  EXPECT_NE(error_of("m k, k n -> m n").find("factor k is in no result"), std::string::npos);
  EXPECT_EQ(error_of("m k, k n -> m n;  whole k"), "");
  EXPECT_NE(error_of("m -> m;  sum k").find("factor k that no operand has"), std::string::npos);
}

TEST(Notation, NamesOfCoresEnumerations) {
  EXPECT_EQ(parse("... -> ...;  when reduction=mean").attributes[0].value, 1);
  EXPECT_EQ(parse("... -> ...;  unless mode=max").attributes[0].value, 2);
  EXPECT_EQ(parse("y -> y;  halo y maximum").attributes[0].window, Window::Kind::maximum);
  for (const char* wrong : {"... -> ...;  when reduction=most", "y -> y;  halo y mean", "y, i -> i;  masked y 1 one"}) {
    EXPECT_THROW(parse(wrong), c10::ValueError) << wrong;
  }
}

}  // namespace
}  // namespace weft::rules
