#pragma once
// Names that the tests of csrc/comm say short.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "support/outcome.h"
#include "support/run_ranks.h"
#include "support/sent.h"

namespace weft::comm {

using std::chrono::milliseconds;
using test::error_of;
using test::errors_of_ranks;
using test::line;
using test::run_ranks;
using test::seconds;
using test::Sent;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

}  // namespace weft::comm
