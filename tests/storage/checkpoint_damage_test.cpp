#include <algorithm>
#include <fstream>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "dormer/storage/checksum.hpp"
#include "support/temp_directory.hpp"

namespace dormer::storage {
namespace {

using ::testing::HasSubstr;

namespace fs = std::filesystem;

const std::string kShard = "shard-00000-of-00001.h5";

/// A small checkpoint whose files are changed and put right again.
class DamagedCheckpoint : public ::testing::Test {
 protected:
  DamagedCheckpoint() {
    std::iota(values_.begin(), values_.end(), 0.5F);
    const std::vector<NamedArray> arrays{
        {"parameters/q_proj.lora_A", DType::kF32, {4, 30}, std::as_bytes(std::span(values_))},
        {"moments/first/q_proj.lora_A", DType::kF32, {120}, std::as_bytes(std::span(values_))}};
    place_ = write_checkpoint(folder_.path(), 40, arrays, R"({"step":40,"config":{"run.seed":"3"}})");
  }

  /// What loading says of it: an input fault's text, "" where it is what was written, "other content" where it loads
  /// and is not.
  std::string verdict() const {
    try {
      const Checkpoint loaded = load_checkpoint(place_);
      const auto whole = std::as_bytes(std::span(values_));
      const bool same = loaded.step == 40 && loaded.state == R"({"config":{"run.seed":"3"},"step":40})" &&
                        loaded.arrays.size() == 2 && std::ranges::all_of(loaded.arrays, [&](const StoredArray& array) {
                          return std::ranges::equal(array.bytes, whole);
                        });
      return same ? "" : "other content";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput) << error.what();
      EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos) << error.what();
      return error.what();
    }
  }

  void put(const std::string& name, const std::string& bytes) const {
    std::ofstream(place_ / name, std::ios::binary | std::ios::trunc) << bytes;
  }
  /// Changes one byte where it lies: cheaper than writing the file again.
  void poke(const std::string& name, std::size_t place, char value) const {
    std::fstream file(place_ / name, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(place));
    file.put(value);
  }
  void put(const Manifest& manifest) const { put(std::string(Manifest::kFileName), to_text(manifest)); }
  [[nodiscard]] std::string get(const std::string& name) const { return read_file(place_ / name, "file"); }

  test::TempDirectory folder_;
  std::vector<float> values_ = std::vector<float>(120);
  fs::path place_;
};

TEST_F(DamagedCheckpoint, EveryFlippedByteOfAShardIsFound) {
  const std::string good = get(kShard);
  ASSERT_EQ(verdict(), "");
  for (std::size_t place = 0; place < good.size(); ++place) {
    poke(kShard, place, static_cast<char>(good[place] ^ (1 << (place % 8))));
    ASSERT_THAT(verdict(), HasSubstr("damaged")) << "byte " << place << " of " << good.size();
    poke(kShard, place, good[place]);
  }
}

TEST_F(DamagedCheckpoint, EveryFlippedByteOfAManifestIsFoundOrChangesNothing) {
  const std::string name(Manifest::kFileName);
  const std::string good = get(name);
  for (std::size_t place = 0; place < good.size(); ++place) {
    for (const int bit : {0, 3, 5}) {
      poke(name, place, static_cast<char>(good[place] ^ (1 << bit)));
      // Blanks between words may change: the content is the same then, and so is its sum.
      ASSERT_NE(verdict(), "other content") << "bit " << bit << " of byte " << place;
    }
    poke(name, place, good[place]);
  }
}

TEST_F(DamagedCheckpoint, EveryCutIsFound) {
  for (const std::string& name : {kShard, std::string(Manifest::kFileName)}) {
    const std::string good = get(name);
    const std::size_t end = good.size() - (name == kShard ? 0 : 1);  // a manifest ends with a line break
    for (std::size_t size = 0; size < end; size += 1 + size / 64) {
      put(name, good.substr(0, size));
      ASSERT_NE(verdict(), "") << name << " cut to " << size;
      ASSERT_NE(verdict(), "other content") << name << " cut to " << size;
    }
    put(name, good);
  }
  EXPECT_EQ(verdict(), "");
}

// A manifest whose own sum is right may still say more than the files hold: no memory is taken on its word.
TEST_F(DamagedCheckpoint, ArraysLargerThanTheFilesThatHoldThemAreFoundBeforeMemoryIsTaken) {
  Manifest manifest = read_manifest(place_);
  manifest.arrays[0].shape = {std::int64_t{1} << 40};
  manifest.arrays[0].count = std::int64_t{1} << 40;
  put(manifest);
  EXPECT_THAT(verdict(), HasSubstr("larger than the files"));
  manifest.arrays[0].shape = {std::int64_t{1} << 60};
  manifest.arrays[0].count = std::int64_t{1} << 60;
  put(manifest);
  EXPECT_THAT(verdict(), HasSubstr("larger than the files"));
}

// 2,000 slices of one array that lie in the file once.
TEST_F(DamagedCheckpoint, OneDataSetIsNotManySlices) {
  Manifest manifest = read_manifest(place_);
  ManifestSlice slice = manifest.arrays[0];
  manifest.arrays.clear();
  slice.shape = {120 * 2'000};
  for (std::int64_t index = 0; index < 2'000; ++index) {
    slice.offset = 120 * index;
    manifest.arrays.push_back(slice);
  }
  put(manifest);
  EXPECT_THAT(verdict(), HasSubstr("larger than the files"));
}

/// The manifest's text with one word changed, and its own sum made right again.
std::string signed_again(std::string text, const std::string& old, const std::string& changed) {
  const std::size_t place = text.find(old);
  EXPECT_NE(place, std::string::npos) << old;
  text.replace(place, old.size(), changed);
  nlohmann::json root = nlohmann::json::parse(text);
  root.erase("manifest_xxh3_128");
  const std::string plain = root.dump();
  root["manifest_xxh3_128"] = xxh3_128(std::as_bytes(std::span(plain)));
  return root.dump(1);
}

TEST_F(DamagedCheckpoint, NumbersOfAManifestAreWholeNumbers) {
  const std::string name(Manifest::kFileName);
  const std::string good = get(name);
  put(name, signed_again(good, "\"offset\": 0", "\"offset\":  0"));
  ASSERT_EQ(verdict(), "");
  for (const auto& [old, changed] :
       {std::pair("\"offset\": 0", "\"offset\": 0.5"), std::pair("\"count\": 120", "\"count\": 1.2e2"),
        std::pair("120\n", "120.0\n"), std::pair("\"step\": 40\n}", "\"step\": 1e300\n}")}) {
    put(name, signed_again(good, old, changed));
    EXPECT_THAT(verdict(), HasSubstr("not a whole one")) << changed;
  }
}

// A waiting pipe or an endless chain of links must end a start, not hold it or be taken for the system's fault.
TEST_F(DamagedCheckpoint, PipesFoldersAndLoopsOfLinksAreNoFiles) {
  for (const std::string& name : {kShard, std::string(Manifest::kFileName)}) {
    const std::string good = get(name);
    fs::remove(place_ / name);
    ASSERT_EQ(::mkfifo((place_ / name).c_str(), 0600), 0);
    EXPECT_THAT(verdict(), HasSubstr(name));
    fs::remove(place_ / name);
    fs::create_directory(place_ / name);
    EXPECT_THAT(verdict(), HasSubstr(name));
    fs::remove(place_ / name);
    fs::create_symlink(name, place_ / name);
    EXPECT_THAT(verdict(), HasSubstr(name));
    fs::remove(place_ / name);
    fs::create_symlink("absent", place_ / name);
    EXPECT_THAT(verdict(), HasSubstr(name));
    fs::remove(place_ / name);
    put(name, good);
  }
  EXPECT_EQ(verdict(), "");
}

}  // namespace
}  // namespace dormer::storage
