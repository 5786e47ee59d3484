#include "dormer/storage/safetensors.hpp"

#include <array>
#include <cstring>
#include <fstream>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dormer/core/error.hpp"
#include "storage/hostile_headers.hpp"
#include "support/temp_directory.hpp"

namespace dormer::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string refusal(const std::string& bytes) {
  try {
    (void)parse_safetensors(as_bytes(bytes), "f.safetensors");
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kInput) << error.what();
    return error.what();
  }
  return "";
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

template <typename Function>
std::string message_of(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    return fmt::format("{}: {}", error.exit_code(), error.what());
  }
  return "";
}

class EveryCraftedFile : public ::testing::TestWithParam<CraftedFile> {};

TEST_P(EveryCraftedFile, GetsItsVerdictInOneLineThatNamesTheFile) {
  const std::string message = refusal(GetParam().bytes);
  EXPECT_EQ(message.empty(), GetParam().accepted) << message;
  EXPECT_EQ(GetParam().accepted != GetParam().accepted_by_reference, !GetParam().difference.empty());
  if (!message.empty()) {
    EXPECT_THAT(message, HasSubstr("f.safetensors"));
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Safetensors, EveryCraftedFile, ::testing::ValuesIn(crafted_files()), [](const auto& row) {
  std::string name;
  for (const char letter : row.param.name) {
    name += std::isalnum(static_cast<unsigned char>(letter)) != 0 ? letter : '_';
  }
  return fmt::format("{}_{}", row.index, name);
});

void mutate(std::string& bytes, std::mt19937_64& random) {
  static constexpr std::array<std::string_view, 10> kFragments{
      "{", "}", "[0,", "18446744073709551615", "-1", "\"dtype\"", "\"a\":", "1e9", "\\u0000", "null"};
  const auto below = [&](std::size_t limit) {
    return static_cast<std::size_t>(random() % std::max<std::size_t>(limit, 1));
  };
  const std::size_t place = below(bytes.size());
  switch (random() % 6) {
    case 0:
      if (!bytes.empty()) {
        bytes[place] = static_cast<char>(random());
      }
      break;
    case 1:
      bytes.insert(place, kFragments.at(below(kFragments.size())));
      break;
    case 2:
      bytes.erase(place, below(9));
      break;
    case 3:
      bytes.resize(place);
      break;
    case 4:
      bytes.insert(place, bytes.substr(below(bytes.size()), below(24)));
      break;
    default:
      break;
  }
  // Half of the time the length is made right again, so that changes reach the JSON and the offsets.
  const std::size_t last = bytes.rfind('}');
  if (random() % 2 == 0 && last != std::string::npos && last >= 8) {
    const std::uint64_t length = last - 7;
    std::memcpy(bytes.data(), &length, sizeof(length));
  }
}

TEST(SafetensorsFuzz, AnyBytesGiveAnInputErrorOrViewsInsideTheFile) {
  const std::vector<CraftedFile> seeds = crafted_files();
  std::mt19937_64 random(20'26);
  int accepted = 0;
  for (int round = 0; round < 60'000; ++round) {
    std::string bytes = seeds[random() % seeds.size()].bytes;
    for (std::uint64_t change = 0; change <= random() % 3; ++change) {
      mutate(bytes, random);
    }
    const std::vector<char> exact(bytes.begin(),
                                  bytes.end());  // no byte to spare, so that a sanitizer sees each overrun
    try {
      const SafetensorsHeader header = parse_safetensors(std::as_bytes(std::span(exact)), "fuzz");
      std::uint64_t total = 0;
      for (const TensorEntry& entry : header.tensors) {
        ASSERT_LE(entry.begin, entry.end);
        ASSERT_LE(header.data_begin + entry.end, exact.size());
        total += entry.end - entry.begin;
      }
      ASSERT_EQ(header.data_begin + total, exact.size());
      ++accepted;
    } catch (const Error& error) {
      ASSERT_EQ(error.fault(), Fault::kInput) << error.what();
    }
  }
  EXPECT_GT(accepted, 1'000);  // else the mutator only makes rubbish, and proves nothing
}

TEST(Safetensors, RoundTripKeepsEveryDtypeShapeAndByte) {
  static constexpr std::array kTypes{DType::kBool,   DType::kU8,  DType::kI8,   DType::kU16, DType::kI16,
                                     DType::kU32,    DType::kI32, DType::kU64,  DType::kI64, DType::kF8E4M3,
                                     DType::kF8E5M2, DType::kF16, DType::kBF16, DType::kF32, DType::kF64};
  const std::vector<std::vector<std::int64_t>> shapes{{}, {0}, {3}, {0, 4}, {2, 3}, {1, 2, 1, 3}};
  std::mt19937_64 random(5);
  std::vector<std::vector<std::byte>> payloads;
  std::vector<NamedArray> arrays;
  payloads.reserve(kTypes.size() * shapes.size());
  for (const DType dtype : kTypes) {
    for (const auto& shape : shapes) {
      std::size_t bytes = size_of(dtype);
      for (const std::int64_t dimension : shape) {
        bytes *= static_cast<std::size_t>(dimension);
      }
      auto& payload = payloads.emplace_back(bytes);
      std::ranges::generate(payload, [&] { return static_cast<std::byte>(random()); });
      arrays.push_back({fmt::format("t{}.\"{}\" ü", arrays.size(), name_of(dtype)), dtype, shape, payload});
    }
  }
  const test::TempDirectory folder;
  const std::filesystem::path path = folder.path() / "a.safetensors";
  write_safetensors(path, arrays, {{"format", "pt"}, {"note", "line\nbreak"}});
  const auto file = SafetensorsFile::open(path);
  EXPECT_EQ(file->metadata(), (Metadata{{"format", "pt"}, {"note", "line\nbreak"}}));
  ASSERT_EQ(file->tensors().size(), arrays.size());
  for (const NamedArray& array : arrays) {
    const TensorEntry* entry = file->find(array.name);
    ASSERT_NE(entry, nullptr) << array.name;
    EXPECT_EQ(entry->dtype, array.dtype);
    EXPECT_EQ(entry->shape, array.shape);
    EXPECT_TRUE(std::ranges::equal(file->bytes(*entry), array.bytes));
    EXPECT_TRUE(file->lends(*entry)) << array.name;
    std::vector<std::byte> read(array.bytes.size());
    file->read(*entry, read);
    EXPECT_TRUE(std::ranges::equal(read, array.bytes));
  }
  EXPECT_EQ(file->find("absent"), nullptr);
}

TEST(Safetensors, ReadingWhatIsGoneOrWasCutIsAnError) {
  const test::TempDirectory folder;
  const std::filesystem::path path = folder.path() / "cut.safetensors";
  const std::vector<std::byte> data(4096);
  write_safetensors(path, std::vector<NamedArray>{{"w", DType::kU8, {4096}, data}}, {});
  const auto file = SafetensorsFile::open(path);
  std::vector<std::byte> read(data.size());
  const auto fault = [&] {
    try {
      file->read(*file->find("w"), read);
    } catch (const Error& error) {
      return error.fault();
    }
    return Fault::kBug;
  };
  std::filesystem::resize_file(path, 4000);
  EXPECT_EQ(fault(), Fault::kInput);
  std::filesystem::remove(path);
  EXPECT_EQ(fault(), Fault::kIo);
}

TEST(Safetensors, WriterPutsWideDtypesFirstThenNamesAndPadsTheHeader) {
  const std::array<std::byte, 8> data{};
  const std::span<const std::byte> bytes(data);
  const std::vector<NamedArray> arrays{{"z", DType::kU8, {1}, bytes.first(1)},
                                       {"b", DType::kF32, {}, bytes.first(4)},
                                       {"a", DType::kF32, {1, 1}, bytes.first(4)},
                                       {"c", DType::kI64, {1}, bytes}};
  const std::vector<std::byte> file = serialize_safetensors(arrays, {{"format", "pt"}});
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  EXPECT_EQ(length % 8, 0U);
  const std::string header(reinterpret_cast<const char*>(file.data()) + 8, length);
  EXPECT_THAT(header,
              HasSubstr(R"({"__metadata__":{"format":"pt"},"c":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
                        R"("a":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]},)"
                        R"("b":{"dtype":"F32","shape":[],"data_offsets":[12,16]},)"
                        R"("z":{"dtype":"U8","shape":[1],"data_offsets":[16,17]}})"));
}

TEST(Safetensors, WriterRefusesDuplicateNamesAndWrongSizes) {
  const std::array<std::byte, 4> data{};
  const std::vector<NamedArray> twice{{"a", DType::kF32, {1}, data}, {"a", DType::kF32, {1}, data}};
  EXPECT_THROW((void)serialize_safetensors(twice, {}), Error);
  const std::vector<NamedArray> wrong{{"a", DType::kF32, {2}, data}};
  EXPECT_THROW((void)serialize_safetensors(wrong, {}), Error);
}

TEST(Safetensors, MissingTruncatedAndForeignFilesNameTheFileAndTheRemedy) {
  const test::TempDirectory folder;
  const auto open = [&](const std::string& name) {
    return message_of([&] { (void)SafetensorsFile::open(folder.path() / name); });
  };
  EXPECT_THAT(open("no.safetensors"),
              ::testing::AllOf(HasSubstr("3: "), HasSubstr("no.safetensors"), HasSubstr("not found")));
  EXPECT_THAT(open("."), HasSubstr("not a regular file"));
  const std::array<std::byte, 64> data{};
  const std::vector<NamedArray> arrays{{"a", DType::kF32, {16}, data}};
  write_safetensors(folder.path() / "cut.safetensors", arrays, {});
  std::filesystem::resize_file(folder.path() / "cut.safetensors", 100);
  EXPECT_THAT(open("cut.safetensors"),
              ::testing::AllOf(HasSubstr("truncated"), HasSubstr("cut.safetensors"), HasSubstr("download")));
  write(folder.path() / "lfs.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
  EXPECT_THAT(open("lfs.safetensors"), HasSubstr("git lfs pull"));
  write(folder.path() / "pickle.safetensors", std::string("PK\x03\x04\x00\x00\x08\x08\x00\x00", 10));
  EXPECT_THAT(open("pickle.safetensors"), HasSubstr("convert it to safetensors"));
}

class ShardedFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    write_safetensors(folder_.path() / "one.safetensors", std::vector<NamedArray>{{"a", DType::kF32, {1}, data_}}, {});
    write_safetensors(folder_.path() / "two.safetensors", std::vector<NamedArray>{{"b", DType::kF32, {1}, data_}}, {});
  }
  std::string open(const std::string& weight_map) {
    write(folder_.path() / "model.safetensors.index.json",
          R"({"metadata":{"total_size":8},"weight_map":)" + weight_map + "}");
    return message_of([&] { set_ = SafetensorsSet::open_folder(folder_.path()); });
  }
  test::TempDirectory folder_;
  std::array<std::byte, 4> data_{};
  SafetensorsSet set_;
};

TEST_F(ShardedFolder, FindsEachTensorInItsShardAlsoBehindLinks) {
  std::filesystem::create_directory(folder_.path() / "blobs");
  std::filesystem::rename(folder_.path() / "two.safetensors", folder_.path() / "blobs" / "0123");
  std::filesystem::create_symlink("blobs/0123", folder_.path() / "two.safetensors");
  EXPECT_EQ(open(R"({"a":"one.safetensors","b":"two.safetensors"})"), "");
  EXPECT_THAT(set_.names(), ElementsAre("a", "b"));
  ASSERT_TRUE(set_.find("b"));
  EXPECT_EQ(set_.find("b")->file->path().filename(), "two.safetensors");
  EXPECT_EQ(set_.find("b")->entry->name, "b");
  EXPECT_FALSE(set_.find("c"));
  EXPECT_EQ(set_.files().size(), 2U);
}

TEST_F(ShardedFolder, RefusesAnIndexThatPointsOutsideOrLies) {
  const auto is = [](const char* text) { return ::testing::AllOf(HasSubstr("3: "), HasSubstr(text)); };
  EXPECT_THAT(open(R"({"a":"../one.safetensors"})"), is("outside"));
  EXPECT_THAT(open(R"({"a":"/etc/passwd"})"), is("outside"));
  EXPECT_THAT(open(R"({"a":".."})"), is("outside"));
  EXPECT_THAT(open(R"({"a":"one.safetensors\u0000x"})"), is("outside"));
  EXPECT_THAT(open(R"({"a":7})"), is("not a string"));
  EXPECT_THAT(open(R"({"a":"one.safetensors","a":"two.safetensors"})"), is("twice"));
  EXPECT_THAT(open(R"({"a":"one.safetensors","b":"one.safetensors"})"), is("does not hold it"));
  EXPECT_THAT(open(R"({"a":"three.safetensors"})"), is("not found"));
  EXPECT_THAT(open(R"({"a":")" + std::string(300, 'x') + "\"}"), is("not found"));  // no name of any file
  EXPECT_THAT(open("{}"), is("empty"));
  EXPECT_THAT(open("[]"), is("weight_map"));
  EXPECT_THAT(open("{"), is("not JSON"));
  write_safetensors(folder_.path() / "two.safetensors",
                    std::vector<NamedArray>{{"a", DType::kF32, {1}, data_}, {"b", DType::kF32, {1}, data_}}, {});
  EXPECT_THAT(open(R"({"a":"one.safetensors","b":"two.safetensors"})"), is("two files"));
}

TEST_F(ShardedFolder, SaysWhatAFolderWithoutWeightsLacks) {
  EXPECT_THAT(message_of([&] { (void)SafetensorsSet::open_folder(folder_.path() / "none"); }),
              HasSubstr("folder not found"));
  EXPECT_THAT(message_of([&] { (void)SafetensorsSet::open_folder(folder_.path()); }), HasSubstr("no weights"));
}

}  // namespace
}  // namespace dormer::storage
