#include "dormer/model/model_folder.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"

namespace dormer::model {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

/// A hub cache with one entry whose snapshot's files are links to blobs, as the hub's own client makes it.
fs::path hub_cache(const fs::path& home) {
  const fs::path entry = home / "hub" / "models--some-org--some-model";
  write(entry / "blobs" / "abc", "{\"model_type\": \"llama\"}");
  fs::create_directories(entry / "snapshots" / "rev1");
  fs::create_symlink("../../blobs/abc", entry / "snapshots" / "rev1" / "config.json");
  write(entry / "refs" / "main", "rev1\n");
  return entry;
}

class HubHome : public ::testing::Test {
 protected:
  HubHome() { setenv("HF_HOME", folder_.path().c_str(), 1); }
  ~HubHome() override { unsetenv("HF_HOME"); }
  test::TempDirectory folder_;
};

TEST_F(HubHome, FindsAnIdInTheCacheOffline) {
  const fs::path entry = hub_cache(folder_.path());
  EXPECT_EQ(resolve_model_folder("some-org/some-model"), entry / "snapshots" / "rev1");
  EXPECT_EQ(resolve_model_folder(entry), entry / "snapshots" / "rev1");
  EXPECT_EQ(hub_id_of(entry / "snapshots" / "rev1"), "some-org/some-model");
}

TEST_F(HubHome, AMissingModelNamesWhereItWasLookedFor) {
  try {
    (void)resolve_model_folder("some-org/other");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kInput);
    EXPECT_THAT(error.what(), HasSubstr("models--some-org--other"));
  }
}

TEST_F(HubHome, AFoldersConfigMayNameItsIdButNeverAPath) {
  const fs::path folder = folder_.path() / "plain";
  write(folder / "config.json", R"({"_name_or_path": "org/name"})");
  EXPECT_EQ(hub_id_of(folder), "org/name");
  write(folder / "config.json", R"({"_name_or_path": "/somewhere/models/x"})");
  EXPECT_EQ(hub_id_of(folder), std::nullopt);
  write(folder / "config.json", R"({"_name_or_path": "./models/x"})");
  EXPECT_EQ(hub_id_of(folder), std::nullopt);
}

}  // namespace
}  // namespace dormer::model
