#include "cli/comm_benchmark.hpp"

#include <mutex>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "dormer/comm/single.hpp"
#include "dormer/comm/threads.hpp"

namespace dormer::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(CommBenchmark, MeasuresEveryTwoHostsAndEveryHostWithin) {
  EXPECT_THAT(pairs_to_measure({"n1", "n1", "n2", "n2", "n3"}),
              ElementsAre(Pair(0, 1), Pair(0, 2), Pair(0, 4), Pair(2, 3), Pair(2, 4)));
  EXPECT_THAT(pairs_to_measure({"n2", "n1", "n2", "n1"}), ElementsAre(Pair(0, 1), Pair(0, 2), Pair(1, 3)))
      << "ranks need not lie side by side";
  EXPECT_THAT(pairs_to_measure({"n1"}), IsEmpty());
}

TEST(CommBenchmark, AllRanksGetOneReport) {
  const CommBenchmark benchmark{.mebibytes = 1, .rounds = 2};
  std::vector<std::string> texts(3);
  comm::ThreadWorld{3}.run([&](comm::Communicator& ranks) {
    const CommReport report = measure_comm(ranks, benchmark);
    EXPECT_EQ(report.links.size(), 1U) << "threads share a host";
    for (const LinkRow& row : report.links) {
      EXPECT_EQ(row.interface, "memory");
      EXPECT_GT(row.microseconds, 0.0);
      EXPECT_GT(row.bytes_per_second, 1e6);
    }
    EXPECT_EQ(report.collectives.size(), 3U);
    texts[static_cast<std::size_t>(ranks.rank())] = describe(report, benchmark) + to_json(report);
  });
  EXPECT_THAT(texts[0], HasSubstr("3 ranks, transport threads"));
  EXPECT_EQ(texts[1], texts[0]);
  EXPECT_EQ(texts[2], texts[0]);
}

TEST(CommBenchmark, OneRankHasNobodyToReach) {
  const std::unique_ptr<comm::Communicator> alone = comm::single();
  const CommReport report = measure_comm(*alone, {.mebibytes = 1, .rounds = 1});
  EXPECT_THAT(report.links, IsEmpty());
  EXPECT_THAT(report.collectives, IsEmpty());
  EXPECT_EQ(nlohmann::json::parse(to_json(report)).at("hosts").size(), 1U);
}

}  // namespace
}  // namespace dormer::cli
