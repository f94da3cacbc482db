#include "base/error_codes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/errors.h>
#include <weft/mesh.h>

#include "support/outcome.h"

namespace weft {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

TEST(ErrorCodes, StandInFrontOnce) {
  EXPECT_EQ(coded("W094", "failed"), "[W094] failed");
  EXPECT_EQ(coded("W094", "[mm] failed on rank 1: [W041] two entries"), "[W041] [mm] failed on rank 1: two entries");
  EXPECT_EQ(coded("W094", "[W041] two entries"), "[W041] two entries");
  EXPECT_EQ(coded("W094", coded("W119", "x")), "[W119] x");
  for (const char* other : {"[W41] x", "[W041]x", "[W0411] x", "[Wabc] x", "[W04", "[", ""}) {
    EXPECT_EQ(coded("W094", other), std::string("[W094] ") + other);
  }
}

TEST(ErrorCodes, AreTakenOffTheFront) {
  EXPECT_EQ(without_code("[W041] two entries"), "two entries");
  EXPECT_EQ(without_code("plain"), "plain");
  EXPECT_EQ(without_code("within [W041] two entries"), "within [W041] two entries");
}

TEST(ErrorCodes, AreExplained) {
  const std::string text = explain_error("W041");
  EXPECT_THAT(text, AllOf(StartsWith("W041 (ValueError): a path matches"), HasSubstr("\n\nWhat to do: ")));
  EXPECT_EQ(explain_error("RuntimeError: [W041] LayoutMap: path 'a'"), text);
  for (const ErrorKind& kind : error_kinds()) {
    EXPECT_THAT(explain_error(std::string(kind.code)), HasSubstr(std::string(kind.remedy)));
  }
  for (const char* unknown : {"W000", "", "W04", "w041", "W041 ", "[W000] x"}) {
    EXPECT_THAT(test::error_of([&] { explain_error(unknown); }), HasSubstr("is no code")) << unknown;
  }
}

TEST(ErrorCodes, AreInWhatIsRaised) {
  try {
    DeviceMesh::get({}, {});
    FAIL();
  } catch (const c10::ValueError& error) {
    EXPECT_THAT(error.what_without_backtrace(), StartsWith("[W020] device mesh: 1 to 8 axes"));
  }
}

}  // namespace
}  // namespace weft
