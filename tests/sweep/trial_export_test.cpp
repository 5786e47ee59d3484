#include "dormer/sweep/trial_export.hpp"

#include <limits>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "sweep/made_trials.hpp"

namespace dormer::sweep {
namespace {

using enum TrialState;

std::vector<TrialRecord> some_trials() {
  std::vector<TrialRecord> trials{
      made_trial(0, 0, kComplete, {{5, 0.5}, {10, 0.1}},
                 {{"optimizer.learning_rate", "1.0e-4"}, {"adapter.rank", "8"}}),
      made_trial(1, 1, kFailed, {}, {{"optimizer.learning_rate", "3.0e-4"}, {"adapter.targets", "[q, v]"}})};
  trials[0].worker = "node1:0";
  trials[0].parameters = 4096;
  trials[1].reason = "loss is \"nan\", at once\r\nand for all";
  trials[1].replica = 1;
  return trials;
}

TEST(TrialsCsv, IsAColumnAParameterAndALineATrial) {
  EXPECT_EQ(
      trials_csv(some_trials()),
      "trial,point,replica,state,value,steps,seconds,parameters,worker,reason,optimizer.learning_rate,adapter.rank,"
      "adapter.targets\n"
      "0,0,0,complete,0.1,10,100,4096,node1:0,,1.0e-4,8,\n"
      "1,1,1,failed,,0,0,,,\"loss is \"\"nan\"\", at once\r\nand for all\",3.0e-4,,\"[q, v]\"\n");
  EXPECT_EQ(trials_csv({}), "trial,point,replica,state,value,steps,seconds,parameters,worker,reason\n");
}

TEST(TrialsJson, SaysEverything) {
  const std::string text = trials_json(some_trials());
  EXPECT_EQ(
      text,
      "{\"format\":\"dormer.trials/1\",\"trials\":[\n"
      "{\"trial\":0,\"point\":0,\"replica\":0,\"state\":\"complete\",\"value\":0.1,\"steps\":10,\"seconds\":100,"
      "\"parameters\":4096,\"worker\":\"node1:0\",\"reason\":\"\",\"settings\":{\"optimizer.learning_rate\":1.0e-4,"
      "\"adapter.rank\":8},"
      "\"measurements\":[{\"step\":5,\"value\":0.5,\"seconds\":50},{\"step\":10,\"value\":0.1,\"seconds\":100}]},\n"
      "{\"trial\":1,\"point\":1,\"replica\":1,\"state\":\"failed\",\"value\":null,\"steps\":0,\"seconds\":0,"
      "\"parameters\":null,\"worker\":\"\",\"reason\":\"loss is \\\"nan\\\", at once\\r\\nand for all\",\"settings\":"
      "{\"optimizer.learning_rate\":3.0e-4,\"adapter.targets\":\"[q, v]\"},\"measurements\":[]}\n]}\n");
}

TEST(TrialsJson, ReadsBackToTheSameBits) {
  const double awkward = 0.1 + 0.2;
  const double smallest = std::numeric_limits<double>::denorm_min();
  std::vector<TrialRecord> trials{
      made_trial(0, 0, kRunning, {{1, awkward}, {2, smallest}, {3, 1e300 * 1e300}},
                 {{"a", "null"}, {"b", "007"}, {"c", "caf\xE9"}, {"d", "1e999"}, {"e", ""}})};
  const nlohmann::json trial = nlohmann::json::parse(trials_json(trials)).at("trials").at(0);
  EXPECT_EQ(trial.at("measurements").at(0).at("value").get<double>(), awkward);
  EXPECT_EQ(trial.at("measurements").at(1).at("value").get<double>(), smallest);
  EXPECT_TRUE(trial.at("measurements").at(2).at("value").is_null());  // not finite
  EXPECT_TRUE(trial.at("settings").at("a").is_null());
  EXPECT_EQ(trial.at("settings").at("b"), "007");
  EXPECT_EQ(trial.at("settings").at("c"), "caf\xEF\xBF\xBD");
  EXPECT_EQ(trial.at("settings").at("d"), "1e999");
  EXPECT_EQ(trial.at("settings").at("e"), "");
}

}  // namespace
}  // namespace dormer::sweep
