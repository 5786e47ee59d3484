#include "train/startup.hpp"

#include <gmock/gmock.h>

#include "train/exporting.hpp"

namespace dormer::train {
namespace {

using ::testing::ElementsAre;

TEST(Exports, EveryOneHasAFolderOfItsOwn) {
  RunConfig config;
  config.run.directory = "runs/a";
  config.exports.resize(2);
  config.exports[0].consumer = config.exports[1].consumer = "peft";
  config.exports[1].name = "second";
  EXPECT_THAT(
      export_folders(config, RunPaths{"runs/a"}),
      ElementsAre(std::filesystem::path("runs/a/export/peft"), std::filesystem::path("runs/a/export/peft-second")));
}

}  // namespace
}  // namespace dormer::train
