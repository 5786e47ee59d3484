#include "dormer/storage/checkpoint.hpp"

#include <csignal>
#include <fstream>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"

namespace dormer::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace fs = std::filesystem;

struct Content {
  std::vector<float> weights;
  std::vector<std::uint16_t> halves;

  explicit Content(float first) : weights(600), halves(7, 0x7FC1) {  // a NaN with a payload
    std::iota(weights.begin(), weights.end(), first);
  }
  [[nodiscard]] std::vector<NamedArray> arrays() const {
    return {{"parameters/model.layers.0.q_proj.lora_A", DType::kF32, {20, 30}, std::as_bytes(std::span(weights))},
            {"halves", DType::kBF16, {7}, std::as_bytes(std::span(halves))},
            {"none", DType::kF32, {0, 3}, {}}};
  }
};

void expect_holds(const fs::path& folder, const Content& content, std::int64_t step, const std::string& state) {
  const Checkpoint checkpoint = load_checkpoint(folder);
  EXPECT_EQ(checkpoint.step, step);
  EXPECT_EQ(checkpoint.state, state);
  EXPECT_EQ(checkpoint.arrays.size(), 3U);
  for (const NamedArray& array : content.arrays()) {
    const StoredArray* found = checkpoint.find(array.name);
    ASSERT_NE(found, nullptr) << array.name;
    EXPECT_EQ(found->dtype, array.dtype);
    EXPECT_EQ(found->shape, array.shape);
    EXPECT_TRUE(std::ranges::equal(found->bytes, array.bytes)) << array.name;
  }
}

std::string failure(const fs::path& folder) {
  try {
    (void)load_checkpoint(folder);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kInput) << error.what();
    return error.what();
  }
  return "";
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

TEST(Checkpoint, ComesBackBitForBit) {
  const test::TempDirectory folder;
  const Content content(1.0F);
  const fs::path place = write_checkpoint(folder.path() / "checkpoints", 40, content.arrays(), R"({"epoch":2})");
  EXPECT_EQ(place.filename(), "step-000000040");
  EXPECT_THAT(names_in(place), ElementsAre("manifest.json", "shard-00000-of-00001.h5"));
  EXPECT_EQ(read_file(folder.path() / "checkpoints" / "LATEST", "hint"), "step-000000040\n");
  expect_holds(place, content, 40, R"({"epoch":2})");
}

TEST(Checkpoint, EqualContentGivesEqualFiles) {
  const test::TempDirectory folder;
  const Content content(1.0F);
  const fs::path one = write_checkpoint(folder.path() / "one", 40, content.arrays(), "{}");
  const fs::path two = write_checkpoint(folder.path() / "two", 40, content.arrays(), "{}");
  for (const std::string& name : names_in(one)) {
    EXPECT_EQ(read_file(one / name, "file"), read_file(two / name, "file")) << name;
  }
}

TEST(Checkpoint, ListsTheNewestFirstAndNothingElse) {
  const test::TempDirectory folder;
  EXPECT_THAT(list_checkpoints(folder.path() / "none"), IsEmpty());
  for (const char* name :
       {"step-000000002", "step-000000010", "step-1000000000", "step-000000003.corrupt", ".tmp-step-000000011",
        ".del-step-000000001", "step-", "step-00000000x", "step-12", "other"}) {
    fs::create_directory(folder.path() / name);
  }
  std::ofstream(folder.path() / "step-000000099") << "a file";
  std::vector<std::int64_t> steps;
  for (const CheckpointPlace& place : list_checkpoints(folder.path())) {
    steps.push_back(place.step);
  }
  EXPECT_THAT(steps, ElementsAre(1'000'000'000, 10, 2));
}

TEST(Checkpoint, EveryKindOfDamageIsFound) {
  const test::TempDirectory folder;
  const Content content(1.0F);
  auto fresh = [&, round = 0]() mutable {
    return write_checkpoint(folder.path() / std::to_string(round++), 40, content.arrays(), "{}");
  };
  const std::string shard = "shard-00000-of-00001.h5";
  fs::path place = fresh();
  fs::remove(place / "manifest.json");
  EXPECT_THAT(failure(place), HasSubstr("manifest not found"));
  place = fresh();
  fs::remove(place / shard);
  EXPECT_THAT(failure(place), HasSubstr("shard not found"));
  place = fresh();
  fs::resize_file(place / shard, fs::file_size(place / shard) - 1);
  EXPECT_THAT(failure(place), HasSubstr("its manifest says"));
  place = fresh();
  fs::resize_file(place / shard, 0);
  EXPECT_THAT(failure(place), HasSubstr("its manifest says"));
  place = fresh();
  fs::rename(place, place.parent_path() / "step-000000041");
  EXPECT_THAT(failure(place.parent_path() / "step-000000041"), HasSubstr("is of step 40"));
  place = fresh();
  std::string bytes = read_file(place / shard, "shard");
  for (const std::size_t at : {std::size_t{9}, bytes.size() / 2, bytes.size() - 1}) {  // superblock, data, end
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    std::ofstream(place / shard, std::ios::binary) << changed;
    EXPECT_THAT(failure(place), HasSubstr("damaged")) << at;
  }
}

TEST(Checkpoint, AManifestThatBelongsToOtherArraysIsFound) {
  const test::TempDirectory folder;
  const fs::path place = write_checkpoint(folder.path(), 40, Content(1.0F).arrays(), "{}");
  Manifest manifest = read_manifest(place);
  manifest.arrays[0].xxh3_128 = std::string(32, '0');
  write_file_atomically(place / Manifest::kFileName, to_text(manifest));
  EXPECT_THAT(failure(place), HasSubstr("lora_A"));
  manifest = read_manifest(place);
  manifest.arrays[0].name = "absent";
  write_file_atomically(place / Manifest::kFileName, to_text(manifest));
  EXPECT_THAT(failure(place), HasSubstr("does not hold 'absent'"));
}

TEST(Checkpoint, QuarantineKeepsEveryBadOneUnderItsOwnName) {
  const test::TempDirectory folder;
  for (const char* expected : {"step-000000040.corrupt", "step-000000040.corrupt.1", "step-000000040.corrupt.2"}) {
    const fs::path place = write_checkpoint(folder.path(), 40, Content(1.0F).arrays(), "{}");
    EXPECT_EQ(quarantine(place).filename(), expected);
    EXPECT_TRUE(fs::exists(folder.path() / expected / "manifest.json"));
  }
  EXPECT_THAT(list_checkpoints(folder.path()), IsEmpty());
}

TEST(Checkpoint, RetireKeepsTheNewestAndTheProtected) {
  const test::TempDirectory folder;
  for (std::int64_t step = 1; step <= 6; ++step) {
    write_checkpoint(folder.path(), step, {}, "{}");
  }
  retire(folder.path(), 2, std::vector<std::int64_t>{2});
  EXPECT_THAT(names_in(folder.path()), ElementsAre("LATEST", "step-000000002", "step-000000005", "step-000000006"));
}

TEST(Checkpoint, AFailedSaveLeavesNothingBehind) {
  const test::TempDirectory folder;
  const Content content(1.0F);
  const fs::path good = write_checkpoint(folder.path(), 40, content.arrays(), "{}");
  const auto fail_at = [](CommitPoint last) {
    return [last](CommitPoint point) { require(point != last, Fault::kIo, "no space left"); };
  };
  for (const CommitPoint point :
       {CommitPoint::kFolderMade, CommitPoint::kShardWritten, CommitPoint::kManifestWritten, CommitPoint::kSynced}) {
    EXPECT_THROW(write_checkpoint(folder.path(), 41, content.arrays(), "{}", fail_at(point)), Error);
    EXPECT_THAT(names_in(folder.path()), ElementsAre("LATEST", "step-000000040"));
  }
  expect_holds(good, content, 40, "{}");
}

// The crash test: whatever the point at which a save is killed, a good checkpoint is found and the save can be
// repeated.
class KilledSave : public ::testing::TestWithParam<std::tuple<CommitPoint, bool>> {};

TEST_P(KilledSave, LeavesAGoodCheckpointAndDoesNotBlockTheNextSave) {
  const auto [last, same_step] = GetParam();
  const test::TempDirectory folder;
  const Content before(1.0F);
  const Content after(9.0F);
  const std::int64_t step = same_step ? 40 : 41;
  write_checkpoint(folder.path(), 40, before.arrays(), R"({"life":1})");

  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    write_checkpoint(folder.path(), step, after.arrays(), R"({"life":2})", [point = last](CommitPoint now) {
      if (now == point) {
        ::kill(::getpid(), SIGKILL);
      }
    });
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

  const bool committed = last >= CommitPoint::kCommitted;
  const std::vector<CheckpointPlace> places = list_checkpoints(folder.path());
  ASSERT_EQ(places.size(), committed && !same_step ? 2U : 1U);
  expect_holds(places.front().folder, committed ? after : before, committed ? step : 40,
               committed ? R"({"life":2})" : R"({"life":1})");

  const Content again(17.0F);
  expect_holds(write_checkpoint(folder.path(), step, again.arrays(), R"({"life":3})"), again, step, R"({"life":3})");
  for (const std::string& name : names_in(folder.path())) {
    EXPECT_FALSE(name.starts_with(".")) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(AtEveryPoint, KilledSave,
                         ::testing::Combine(::testing::Values(CommitPoint::kBegun, CommitPoint::kFolderMade,
                                                              CommitPoint::kShardWritten, CommitPoint::kManifestWritten,
                                                              CommitPoint::kSynced, CommitPoint::kCommitted,
                                                              CommitPoint::kHinted),
                                            ::testing::Bool()),
                         [](const auto& row) {
                           return fmt::format("{}{}", static_cast<int>(std::get<0>(row.param)),
                                              std::get<1>(row.param) ? "SameStep" : "NextStep");
                         });

TEST(Checkpoint, AKilledRemovalLeavesNothingThatLooksLikeACheckpoint) {
  const test::TempDirectory folder;
  const fs::path place = write_checkpoint(folder.path(), 1, Content(1.0F).arrays(), "{}");
  fs::rename(place, folder.path() / ".del-step-000000001");  // where a killed removal stops
  fs::remove(folder.path() / ".del-step-000000001" / "manifest.json");
  EXPECT_THAT(list_checkpoints(folder.path()), IsEmpty());
  write_checkpoint(folder.path(), 2, {}, "{}");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("LATEST", "step-000000002"));
}

}  // namespace
}  // namespace dormer::storage
