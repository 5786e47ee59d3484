#include "dormer/storage/hdf5.hpp"

#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <numeric>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"

namespace dormer::storage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

template <typename Function>
std::string message_of(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    return fmt::format("{}: {}", error.exit_code(), error.what());
  }
  return "";
}

std::vector<std::byte> random_bytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(size);
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random()); });
  return bytes;
}

std::filesystem::path save(const test::TempDirectory& folder, Hdf5Writer&& writer) {
  const std::filesystem::path path = folder.path() / "a.h5";
  write_file_atomically(path, writer.finish().bytes());
  return path;
}

TEST(Hdf5, RoundTripKeepsEveryDtypeShapeAndBit) {
  static constexpr std::array kTypes{DType::kBool,   DType::kU8,  DType::kI8,   DType::kU16, DType::kI16,
                                     DType::kU32,    DType::kI32, DType::kU64,  DType::kI64, DType::kF8E4M3,
                                     DType::kF8E5M2, DType::kF16, DType::kBF16, DType::kF32, DType::kF64};
  const std::vector<std::vector<std::int64_t>> shapes{{}, {0}, {257}, {0, 4}, {5, 3}, {1, 2, 1, 3}};
  const test::TempDirectory folder;
  std::vector<std::vector<std::byte>> payloads;
  std::vector<NamedArray> arrays;
  payloads.reserve(kTypes.size() * shapes.size());
  Hdf5Writer writer;
  for (const DType dtype : kTypes) {
    for (const auto& shape : shapes) {
      std::size_t bytes = size_of(dtype);
      for (const std::int64_t dimension : shape) {
        bytes *= static_cast<std::size_t>(dimension);
      }
      const auto& payload = payloads.emplace_back(random_bytes(bytes, arrays.size()));  // with NaNs and subnormals
      arrays.push_back({fmt::format("{}/group/t{}", name_of(dtype), arrays.size()), dtype, shape, payload});
      writer.add_array(arrays.back());
    }
  }
  const Hdf5Reader reader = Hdf5Reader::open(save(folder, std::move(writer)), "test file");
  ASSERT_EQ(reader.arrays().size(), arrays.size());
  for (const NamedArray& array : arrays) {
    const Hdf5Array* found = reader.find(array.name);
    ASSERT_NE(found, nullptr) << array.name;
    EXPECT_EQ(found->dtype, array.dtype) << array.name;
    EXPECT_EQ(found->shape, array.shape) << array.name;
    std::vector<std::byte> bytes(array.bytes.size());
    reader.read(*found, bytes);
    EXPECT_TRUE(std::ranges::equal(bytes, array.bytes)) << array.name;
  }
  EXPECT_EQ(reader.find("absent"), nullptr);
}

Hdf5Image sample_image() {
  const std::vector<std::byte> small = random_bytes(40, 1);
  const std::vector<std::byte> large = random_bytes(std::size_t{3} << 20, 2);
  Hdf5Writer writer;
  writer.set_attribute("format", std::string("x/1"));
  writer.add_array({"g/small", DType::kBF16, {4, 5}, small}, {{"offset", std::int64_t{7}}});
  writer.add_array({"large", DType::kF32, {3 << 18}, large});
  return writer.finish();
}

TEST(Hdf5, EqualContentGivesEqualBytes) {
  const Hdf5Image first = sample_image();
  const std::vector<std::byte> dirt(std::size_t{8} << 20, std::byte{0xAB});  // the next image gets other memory
  const Hdf5Image second = sample_image();
  EXPECT_TRUE(std::ranges::equal(first.bytes(), second.bytes()));
  EXPECT_LT(first.bytes().size(), (std::size_t{3} << 20) + 65'536) << "the image is cut at the end of the file";
}

TEST(Hdf5, NothingInAFileRecordsTheTimeOfDay) {
  const test::TempDirectory folder;
  write_file_atomically(folder.path() / "a.h5", sample_image().bytes());
  const hid_t file = H5Fopen((folder.path() / "a.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  ASSERT_GE(file, 0);
  for (const char* name : {"/", "/g", "/g/small", "/large"}) {
#if H5_VERSION_GE(1, 12, 0)
    H5O_info2_t facts{};
    ASSERT_GE(H5Oget_info_by_name3(file, name, &facts, H5O_INFO_TIME, H5P_DEFAULT), 0);
#else
    H5O_info_t facts{};
    ASSERT_GE(H5Oget_info_by_name(file, name, &facts, H5P_DEFAULT), 0);
#endif
    EXPECT_EQ(facts.ctime + facts.mtime + facts.atime + facts.btime, 0) << name;
  }
  H5Fclose(file);
}

TEST(Hdf5, AttributesOfFileAndArraysComeBack) {
  const test::TempDirectory folder;
  Hdf5Writer writer;
  writer.set_attribute("text", std::string("größer\nthan"));
  writer.set_attribute("empty", std::string());
  writer.set_attribute("step", std::int64_t{-3});
  writer.set_attribute("rate", 0.125);
  writer.add_array({"a", DType::kU8, {0}, {}}, {{"of_a", std::string("x")}});
  const Hdf5Reader reader = Hdf5Reader::open(save(folder, std::move(writer)), "test file");
  EXPECT_EQ(reader.string_attribute("text"), "größer\nthan");
  EXPECT_EQ(reader.string_attribute("empty"), "");
  EXPECT_EQ(reader.integer_attribute("step"), -3);
  EXPECT_EQ(reader.real_attribute("rate"), 0.125);
  EXPECT_EQ(reader.string_attribute("of_a", "a"), "x");
  EXPECT_EQ(reader.string_attribute("of_a"), std::nullopt);
  EXPECT_THAT(message_of([&] { (void)reader.integer_attribute("text"); }),
              AllOf(HasSubstr("3: "), HasSubstr("not an integer")));
  EXPECT_THAT(message_of([&] { (void)reader.string_attribute("x", "b"); }), HasSubstr("no array 'b'"));
}

TEST(Hdf5, RangesReadExactlyTheirElements) {
  const test::TempDirectory folder;
  std::vector<std::uint32_t> tokens(100'000);
  std::iota(tokens.begin(), tokens.end(), 5U);
  Hdf5Writer writer;
  writer.add_array({"tokens", DType::kU32, {100'000}, std::as_bytes(std::span(tokens))});
  const Hdf5Reader reader = Hdf5Reader::open(save(folder, std::move(writer)), "test file");
  for (const auto& [begin, end] :
       {std::pair(0, 3), std::pair(99'999, 100'000), std::pair(512, 1'537), std::pair(7, 7)}) {
    std::vector<std::uint32_t> part(static_cast<std::size_t>(end - begin), 0);
    reader.read_range(*reader.find("tokens"), begin, end, std::as_writable_bytes(std::span(part)));
    EXPECT_TRUE(std::equal(part.begin(), part.end(), tokens.begin() + begin));
  }
  std::array<std::byte, 4> one{};
  EXPECT_THROW(reader.read_range(*reader.find("tokens"), 100'000, 100'001, one), Error);
}

// Files as other programs write them, made with HDF5 itself.
class ForeignFile : public ::testing::Test {
 protected:
  void SetUp() override {
    (void)Hdf5Writer();  // prepares HDF5
    file_ = H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  }
  std::string open() {
    H5Fclose(std::exchange(file_, -1));
    return message_of([&] { (void)Hdf5Reader::open(path_, "data set"); });
  }
  void TearDown() override {
    if (file_ >= 0) {
      H5Fclose(file_);
    }
  }
  test::TempDirectory folder_;
  std::filesystem::path path_ = folder_.path() / "foreign.h5";
  hid_t file_ = -1;
};

TEST_F(ForeignFile, ChunkedCompressedBigEndianAndVariableStringsAreRead) {
  const hsize_t count = 10'000;
  const hsize_t chunk = 1'000;
  std::vector<std::int32_t> values(count);
  std::iota(values.begin(), values.end(), -5'000);
  const hid_t space = H5Screate_simple(1, &count, nullptr);
  const hid_t options = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(options, 1, &chunk);
  H5Pset_shuffle(options);
  H5Pset_deflate(options, 4);
  const hid_t set = H5Dcreate2(file_, "values", H5T_STD_I32BE, space, H5P_DEFAULT, options, H5P_DEFAULT);
  ASSERT_GE(H5Dwrite(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  const hid_t scalar = H5Screate(H5S_SCALAR);
  const hid_t text = H5Tcopy(H5T_C_S1);
  H5Tset_size(text, H5T_VARIABLE);
  const hid_t attribute = H5Acreate2(file_, "format", text, scalar, H5P_DEFAULT, H5P_DEFAULT);
  const char* value = "dormer.tokens/1";
  ASSERT_GE(H5Awrite(attribute, text, &value), 0);
  for (const hid_t id : {attribute, text, scalar, set, options, space}) {
    H5Idec_ref(id);
  }
  ASSERT_EQ(open(), "");
  const Hdf5Reader reader = Hdf5Reader::open(path_, "data set");
  EXPECT_EQ(reader.string_attribute("format"), "dormer.tokens/1");
  ASSERT_NE(reader.find("values"), nullptr);
  EXPECT_EQ(reader.find("values")->dtype, DType::kI32);
  std::vector<std::int32_t> part(1'500);
  reader.read_range(*reader.find("values"), 900, 2'400, std::as_writable_bytes(std::span(part)));
  EXPECT_TRUE(std::equal(part.begin(), part.end(), values.begin() + 900));
}

TEST_F(ForeignFile, ExternalLinksAreRefused) {
  H5Lcreate_external("/etc/other.h5", "/x", file_, "link", H5P_DEFAULT, H5P_DEFAULT);
  EXPECT_THAT(open(), AllOf(HasSubstr("3: "), HasSubstr("'link'"), HasSubstr("another file")));
}

TEST_F(ForeignFile, ExternalAndVirtualDataAreRefused) {
  const hsize_t count = 8;
  const hid_t space = H5Screate_simple(1, &count, nullptr);
  const hid_t options = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_external(options, "/etc/passwd", 0, count);
  H5Idec_ref(H5Dcreate2(file_, "secret", H5T_STD_U8LE, space, H5P_DEFAULT, options, H5P_DEFAULT));
  H5Idec_ref(options);
  H5Idec_ref(space);
  EXPECT_THAT(open(), AllOf(HasSubstr("3: "), HasSubstr("'secret'"), HasSubstr("other files")));
}

TEST_F(ForeignFile, VirtualDataIsRefused) {
  const hsize_t count = 8;
  const hid_t space = H5Screate_simple(1, &count, nullptr);
  const hid_t options = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_virtual(options, space, "other.h5", "x", space);
  H5Idec_ref(H5Dcreate2(file_, "mosaic", H5T_STD_U8LE, space, H5P_DEFAULT, options, H5P_DEFAULT));
  H5Idec_ref(options);
  H5Idec_ref(space);
  EXPECT_THAT(open(), AllOf(HasSubstr("3: "), HasSubstr("'mosaic'"), HasSubstr("other files")));
}

/// Overwrites eight bytes behind the first place of `mark`.
void poke(const std::filesystem::path& path, const std::string& mark, std::size_t behind, std::uint64_t value) {
  std::string bytes = read_file(path, "file");
  const std::size_t place = bytes.find(mark);
  ASSERT_NE(place, std::string::npos);
  std::memcpy(bytes.data() + place + behind, &value, sizeof(value));
  std::ofstream(path, std::ios::binary) << bytes;
}

// The heap of strings of variable length has no checksum. HDF5 1.10 goes round in circles at the first damage, and
// reads behind its table at the second.
TEST_F(ForeignFile, DamagedStringsOfVariableLengthAreRefused) {
  const hid_t scalar = H5Screate(H5S_SCALAR);
  const hid_t text = H5Tcopy(H5T_C_S1);
  H5Tset_size(text, H5T_VARIABLE);
  const hid_t attribute = H5Acreate2(file_, "format", text, scalar, H5P_DEFAULT, H5P_DEFAULT);
  const char* value = "dormer.tokens/1";
  ASSERT_GE(H5Awrite(attribute, text, &value), 0);
  for (const hid_t id : {attribute, text, scalar}) {
    H5Idec_ref(id);
  }
  ASSERT_EQ(open(), "");
  const std::string good = read_file(path_, "file");
  const auto read = [&] {
    return message_of([&] { (void)Hdf5Reader::open(path_, "data set").string_attribute("format"); });
  };
  ASSERT_EQ(read(), "");
  poke(path_, "GCOL", 16 + 8, ~std::uint64_t{0} - 15);  // the size of the first object
  EXPECT_THAT(read(), AllOf(HasSubstr("3: "), HasSubstr("'format'"), HasSubstr("variable length")));
  const std::uint64_t heap = good.find("GCOL");
  const std::string length("\x0F\0\0\0", 4);
  std::ofstream(path_, std::ios::binary) << good;
  poke(path_, length + std::string(reinterpret_cast<const char*>(&heap), sizeof(heap)), 12,
       0x00FFFFFF);  // of its object
  EXPECT_THAT(read(), AllOf(HasSubstr("3: "), HasSubstr("'format'"), HasSubstr("variable length")));
}

// A shape of 2^50 numbers costs a few bytes of a file, and whoever reads them the machine.
TEST_F(ForeignFile, DataThatIsNotThereIsRefused) {
  const hsize_t count = hsize_t{1} << 50;
  const hsize_t chunk = 1'000;
  const hid_t space = H5Screate_simple(1, &count, nullptr);
  const hid_t chunked = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(chunked, 1, &chunk);
  H5Pset_deflate(chunked, 4);
  const hid_t plain = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_alloc_time(plain, H5D_ALLOC_TIME_LATE);
  for (const hid_t options : {chunked, plain}) {
    H5Idec_ref(H5Dcreate2(file_, "endless", H5T_STD_U32LE, space, H5P_DEFAULT, options, H5P_DEFAULT));
    H5Fclose(std::exchange(file_, -1));
    EXPECT_THAT(message_of([&] { (void)Hdf5Reader::open(path_, "data set"); }),
                AllOf(HasSubstr("3: "), HasSubstr("'endless'"), HasSubstr("not all there")));
    file_ = H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  }
  H5Idec_ref(plain);
  H5Idec_ref(chunked);
  H5Idec_ref(space);
}

TEST_F(ForeignFile, ChunksMuchLargerThanTheFileAreRefused) {
  const hsize_t count = 10;
  const hsize_t most = H5S_UNLIMITED;
  const hsize_t chunk = hsize_t{1} << 30;
  const hid_t space = H5Screate_simple(1, &count, &most);
  const hid_t options = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(options, 1, &chunk);
  H5Pset_deflate(options, 4);
  const hid_t set = H5Dcreate2(file_, "wide", H5T_STD_U8LE, space, H5P_DEFAULT, options, H5P_DEFAULT);
  const hsize_t offset = 0;
  const std::array<unsigned char, 8> packed{0x78, 0x01, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01};
  ASSERT_GE(H5Dwrite_chunk(set, H5P_DEFAULT, 0, &offset, packed.size(), packed.data()), 0);
  for (const hid_t id : {set, options, space}) {
    H5Idec_ref(id);
  }
  EXPECT_THAT(open(), AllOf(HasSubstr("3: "), HasSubstr("'wide'"), HasSubstr("chunks of 1073741824 bytes")));
}

TEST_F(ForeignFile, ZerosAreReadHoweverWellTheyCompress) {
  const hsize_t count = 4'000'000;
  const hsize_t chunk = 1'000'000;
  const hid_t space = H5Screate_simple(1, &count, nullptr);
  const hid_t options = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(options, 1, &chunk);
  H5Pset_deflate(options, 9);
  const hid_t set = H5Dcreate2(file_, "mask", H5T_STD_U8LE, space, H5P_DEFAULT, options, H5P_DEFAULT);
  const std::vector<std::uint8_t> zeros(count, 0);
  ASSERT_GE(H5Dwrite(set, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros.data()), 0);
  for (const hid_t id : {set, options, space}) {
    H5Idec_ref(id);
  }
  EXPECT_EQ(open(), "");
}

TEST_F(ForeignFile, UnknownFiltersAreRefusedByName) {
  const auto pass = [](unsigned, size_t, const unsigned*, size_t bytes, size_t*, void**) -> size_t { return bytes; };
  const H5Z_class2_t filter{H5Z_CLASS_T_VERS, 300, 1, 1, "house special", nullptr, nullptr, pass};
  ASSERT_GE(H5Zregister(&filter), 0);
  const hsize_t count = 8;
  const hid_t space = H5Screate_simple(1, &count, nullptr);
  const hid_t options = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(options, 1, &count);
  H5Pset_filter(options, 300, 0, 0, nullptr);
  H5Idec_ref(H5Dcreate2(file_, "odd", H5T_STD_U8LE, space, H5P_DEFAULT, options, H5P_DEFAULT));
  H5Idec_ref(options);
  H5Idec_ref(space);
  H5Fclose(std::exchange(file_, -1));
  ASSERT_GE(H5Zunregister(300), 0);
  EXPECT_THAT(message_of([&] { (void)Hdf5Reader::open(path_, "data set"); }),
              AllOf(HasSubstr("3: "), HasSubstr("house special"), HasSubstr("gzip")));
}

TEST(Hdf5, MissingCutAndForeignFilesNameTheFile) {
  const test::TempDirectory folder;
  const auto open = [&](const std::string& name) {
    return message_of([&] { (void)Hdf5Reader::open(folder.path() / name, "data set"); });
  };
  EXPECT_THAT(open("none.h5"), AllOf(HasSubstr("3: data set not found"), HasSubstr("none.h5")));
  std::ofstream(folder.path() / "text.h5") << "no HDF5 at all, but long enough to look";
  EXPECT_THAT(open("text.h5"), AllOf(HasSubstr("3: "), HasSubstr("not a whole HDF5 file"), HasSubstr("text.h5")));
  const Hdf5Image image = sample_image();
  write_file_atomically(folder.path() / "cut.h5", image.bytes().first(image.bytes().size() / 2));
  EXPECT_THAT(open("cut.h5"), AllOf(HasSubstr("3: "), HasSubstr("not a whole HDF5 file")));
}

TEST(Hdf5Fuzz, DamagedFilesGiveAnInputErrorOrAreRead) {
  const test::TempDirectory folder;
  const Hdf5Image image = [] {
    const std::vector<std::byte> data = random_bytes(64, 3);
    Hdf5Writer writer;
    writer.set_attribute("format", std::string("x/1"));
    writer.add_array({"g/a", DType::kBF16, {32}, data});
    writer.add_array({"b", DType::kF32, {4, 4}, data});
    return writer.finish();
  }();
  std::mt19937_64 random(77);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::byte> bytes(image.bytes().begin(), image.bytes().end());
    bytes[random() % bytes.size()] ^= static_cast<std::byte>(1U << (random() % 8));
    const std::filesystem::path path = folder.path() / fmt::format("{}.h5", round);
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
    try {
      const Hdf5Reader reader = Hdf5Reader::open(path, "data set");
      for (const Hdf5Array& array : reader.arrays()) {
        std::vector<std::byte> values(static_cast<std::size_t>(array.count()) * size_of(array.dtype));
        reader.read(array, values);
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput) << error.what();
    }
  }
}

}  // namespace
}  // namespace dormer::storage
