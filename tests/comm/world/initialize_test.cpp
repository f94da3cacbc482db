#include "comm/world/initialize.h"

#include <c10/util/Exception.h>
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>
#include <weft/distributed.h>

#include <map>

#include "comm/names.h"
#include "mesh/context.h"

namespace weft::comm {
namespace {

using Variables = std::map<std::string, std::string>;

const char* const kAddresses = "KERAS_DISTRIBUTION_JOB_ADDRESSES";
const char* const kNumber = "KERAS_DISTRIBUTION_NUM_PROCESSES";
const char* const kId = "KERAS_DISTRIBUTION_PROCESS_ID";

Environment environment(Variables variables) {
  return [variables](const char* name) -> std::optional<std::string> {
    const auto it = variables.find(name);
    return it == variables.end() ? std::nullopt : std::optional<std::string>(it->second);
  };
}

std::string error_of(const Variables& variables, std::optional<std::string> addresses = std::nullopt,
                     std::optional<int64_t> number = std::nullopt, std::optional<int64_t> id = std::nullopt) {
  return test::error_of([&] { rendezvous_from(addresses, number, id, environment(variables)); });
}

TEST(Initialize, WithNothingSetIsAWorldOfOne) {
  EXPECT_FALSE(rendezvous_from(std::nullopt, std::nullopt, std::nullopt, environment({})));
  const auto one = rendezvous_from(std::nullopt, 1, std::nullopt, environment({}));
  ASSERT_TRUE(one);
  EXPECT_EQ(one->world_size, 1);
  EXPECT_EQ(one->rank, 0);
}

TEST(Initialize, ReadsTorchrunsVariables) {
  Variables variables{{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "::1"}, {"MASTER_PORT", "29501"}};
  auto rendezvous = rendezvous_from(std::nullopt, std::nullopt, std::nullopt, environment(variables));
  ASSERT_TRUE(rendezvous);
  EXPECT_EQ(rendezvous->host, "::1");
  EXPECT_EQ(rendezvous->port, 29501);
  EXPECT_EQ(rendezvous->rank, 1);
  EXPECT_EQ(rendezvous->world_size, 2);
  EXPECT_FALSE(rendezvous->served);
  variables["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  variables["TORCHELASTIC_RESTART_COUNT"] = "3";
  rendezvous = rendezvous_from(std::nullopt, std::nullopt, std::nullopt, environment(variables));
  EXPECT_TRUE(rendezvous->served);
  EXPECT_EQ(rendezvous->prefix, "/worker/attempt_3");
}

TEST(Initialize, TakesArgumentsThenKerasThenTorchrun) {
  const Variables torchrun{{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "1"}};
  Variables both = torchrun;
  both[kAddresses] = "b:2, c:3 ,d:4";
  both[kNumber] = "3";
  both[kId] = "2";
  auto rendezvous = rendezvous_from(std::nullopt, std::nullopt, std::nullopt, environment(both));
  EXPECT_EQ(rendezvous->host, "b");
  EXPECT_EQ(rendezvous->port, 2);
  EXPECT_EQ(rendezvous->rank, 2);
  EXPECT_EQ(rendezvous->world_size, 3);
  rendezvous = rendezvous_from("[fe80::1]:5", 4, 0, environment(both));
  EXPECT_EQ(rendezvous->host, "fe80::1");
  EXPECT_EQ(rendezvous->port, 5);
  EXPECT_EQ(rendezvous->rank, 0);
  EXPECT_EQ(rendezvous->world_size, 4);
  rendezvous = rendezvous_from(std::nullopt, 8, 7, environment(torchrun));
  EXPECT_EQ(rendezvous->host, "a");
  EXPECT_EQ(rendezvous->rank, 7);
}

TEST(Initialize, RefusesBadValuesByNameAndValue) {
  const Variables good{{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "localhost"}, {"MASTER_PORT", "29500"}};
  const std::vector<std::pair<const char*, const char*>> bad{{"RANK", "abc"},
                                                             {"RANK", "-1"},
                                                             {"RANK", "1x"},
                                                             {"RANK", " 1"},
                                                             {"RANK", ""},
                                                             {"RANK", "1.0"},
                                                             {"RANK", "2"},
                                                             {"WORLD_SIZE", "0"},
                                                             {"WORLD_SIZE", "-2"},
                                                             {"WORLD_SIZE", "two"},
                                                             {"WORLD_SIZE", ""},
                                                             {"WORLD_SIZE", "1e3"},
                                                             {"MASTER_PORT", "0"},
                                                             {"MASTER_PORT", "99999"},
                                                             {"MASTER_PORT", "http"},
                                                             {"MASTER_PORT", ""},
                                                             {"MASTER_PORT", "-1"},
                                                             {"MASTER_PORT", "80 "},
                                                             {"MASTER_ADDR", ""},
                                                             {"WORLD_SIZE", "99999999999999999999"},
                                                             {kNumber, "0"},
                                                             {kNumber, "x"},
                                                             {kId, "+1"},
                                                             {kId, "7"},
                                                             {kAddresses, "host"},
                                                             {kAddresses, ""},
                                                             {kAddresses, ":80"},
                                                             {kAddresses, "a:1,b"},
                                                             {kAddresses, "::1"},
                                                             {kAddresses, "a:80801"},
                                                             {kAddresses, "a:1,,"},
                                                             {kAddresses, "a:1,b:2,c:3"}};
  for (const auto& [name, value] : bad) {
    Variables variables = good;
    variables[name] = value;
    EXPECT_THAT(error_of(variables), AllOf(HasSubstr(name), HasSubstr(std::string(value).substr(0, 5)))) << value;
  }
  EXPECT_THAT(error_of({}, "localhost:1", 2, 2),
              HasSubstr("process_id is 2, but with num_processes 2 the last one is 1"));
  EXPECT_THAT(error_of({}, "localhost:1", 0, 0), HasSubstr("num_processes is '0'"));
  EXPECT_THAT(error_of({}, "localhost:1", 2, -1), HasSubstr("process_id is '-1'"));
  EXPECT_THAT(error_of({}, "localhost:123456", 2, 1), HasSubstr("the port of 'localhost:123456' in job_addresses"));
}

TEST(Initialize, RefusesWhatIsHalfSet) {
  EXPECT_THAT(error_of({{"RANK", "0"}}), HasSubstr("RANK is set ('0'), but not the number of processes"));
  EXPECT_THAT(error_of({{"MASTER_ADDR", "a"}}), HasSubstr("MASTER_ADDR is set ('a')"));
  EXPECT_THAT(error_of({{kId, "0"}}), HasSubstr("KERAS_DISTRIBUTION_PROCESS_ID is set"));
  EXPECT_THAT(error_of({}, "a:1"), HasSubstr("job_addresses is set ('a:1')"));
  EXPECT_THAT(error_of({{"WORLD_SIZE", "2"}}), HasSubstr("WORLD_SIZE is 2, but not set is which process this is"));
  EXPECT_THAT(error_of({}, "a:1", 2), HasSubstr("num_processes is 2"));
  EXPECT_THAT(error_of({{"WORLD_SIZE", "2"}, {"RANK", "0"}}), HasSubstr("neither job_addresses"));
  EXPECT_THAT(error_of({{"WORLD_SIZE", "2"}, {"RANK", "0"}, {"MASTER_ADDR", "a"}}),
              HasSubstr("MASTER_PORT is not set while MASTER_ADDR is 'a'"));
  EXPECT_THAT(error_of({{"WORLD_SIZE", "2"}, {"RANK", "0"}, {"MASTER_PORT", "1"}}),
              HasSubstr("MASTER_ADDR is not set while MASTER_PORT is '1'"));
}

TEST(Initialize, KeepsAWorldThatIsThere) {
  test::run_ranks(2, [](int rank) {
    const Group world = context().world();
    initialize("localhost:1", 2, rank);
    EXPECT_EQ(context().world().get(), world.get());
    EXPECT_EQ(weft::rank(), rank);
    EXPECT_EQ(weft::world_size(), 2);
    EXPECT_THROW(initialize("localhost:1", 3, rank), c10::ValueError);
  });
}

TEST(Initialize, AdoptsAGroupByItsName) {
  test::run_ranks(2, [](int rank) {
    const Group world = context().world();
    const std::string name = "weft_test_world_" + std::to_string(rank);
    c10d::register_process_group(name, world);
    Context fresh{{}};
    {
      const ContextGuard guard(&fresh);
      EXPECT_THROW(set_world("no such group"), c10::Error);
      EXPECT_EQ(weft::world_size(), 1);
      set_world(name);
      EXPECT_EQ(weft::world_size(), 2);
      EXPECT_EQ(weft::rank(), rank);
    }
    c10d::unregister_process_group(name);
  });
}

}  // namespace
}  // namespace weft::comm
