#include "dormer/storage/array_views.hpp"

#include <array>
#include <cstring>
#include <fstream>

#include <gmock/gmock.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/storage/safetensors.hpp"
#include "support/temp_directory.hpp"

namespace dormer::storage {
namespace {

using ::testing::HasSubstr;

class ArrayViewsTest : public ::testing::Test {
 protected:
  void SetUp() override { write_numbers({0, 1, 2, 3, 4, 5}); }
  /// One array "theirs" of [3, 2].
  void write_numbers(std::array<float, 6> numbers) const {
    const NamedArray array{
        .name = "theirs", .dtype = DType::kF32, .shape = {3, 2}, .bytes = std::as_bytes(std::span(numbers))};
    write_safetensors(file_, std::span(&array, 1), {});
  }
  void write(std::initializer_list<ArrayView> views) const {
    write_views(folder_.path() / "model.view.json", std::vector<ArrayView>(views));
  }
  [[nodiscard]] static std::vector<float> values(const SafetensorsSet& set, const std::string& name) {
    const auto found = set.find(name).value();
    const auto bytes = found.file->bytes(*found.entry);
    std::vector<float> result(bytes.size() / sizeof(float));
    std::memcpy(result.data(), bytes.data(), bytes.size());
    return result;
  }
  [[nodiscard]] std::string refusal() const {
    try {
      static_cast<void>(SafetensorsSet::open_folder(folder_.path()));
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      return error.what();
    }
    return "accepted";
  }

  test::TempDirectory folder_;
  std::filesystem::path file_ = folder_.path() / "other.safetensors";
};

TEST_F(ArrayViewsTest, AnArrayIsSeenWholeInAnotherShapeAndByRows) {
  write({{.name = "whole", .file = file_.string(), .array = "theirs", .shape = {3, 2}},
         {.name = "flat", .file = "other.safetensors", .array = "theirs", .shape = {6}},
         {.name = "last", .file = file_.string(), .array = "theirs", .shape = {1, 2}, .first_element = 4}});
  const SafetensorsSet set = SafetensorsSet::open_folder(folder_.path());
  EXPECT_THAT(set.names(), ::testing::ElementsAre("flat", "last", "whole"));
  EXPECT_THAT(values(set, "whole"), ::testing::ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(values(set, "last"), ::testing::ElementsAre(4, 5));
  EXPECT_THAT(set.find("flat").value().entry->shape, ::testing::ElementsAre(6));
}

TEST_F(ArrayViewsTest, AnotherFileInThePlaceIsRefused) {
  write({{.name = "whole", .file = file_.string(), .array = "theirs", .shape = {3, 2}}});
  write_numbers({5, 4, 3, 2, 1, 0});  // the same header: the same model trained further; the views still hold
  EXPECT_EQ(refusal(), "accepted");
  const float number = 1;
  const NamedArray array{
      .name = "theirs", .dtype = DType::kF32, .shape = {1}, .bytes = std::as_bytes(std::span(&number, 1))};
  write_safetensors(file_, std::span(&array, 1), {});
  EXPECT_THAT(refusal(), HasSubstr("is another file than the one"));
}

TEST_F(ArrayViewsTest, ViewsBeyondAnArrayAreRefused) {
  for (const ArrayView& view :
       {ArrayView{.name = "a", .file = file_.string(), .array = "theirs", .shape = {7}},
        ArrayView{.name = "a", .file = file_.string(), .array = "none", .shape = {1}},
        ArrayView{.name = "a", .file = file_.string(), .array = "theirs", .shape = {-1, -6}},
        ArrayView{.name = "a", .file = file_.string(), .array = "theirs", .shape = {std::int64_t{1} << 62, 4}},
        ArrayView{.name = "a", .file = file_.string(), .array = "theirs", .shape = {2}, .first_element = 5}}) {
    write({view});
    EXPECT_THAT(refusal(), HasSubstr("bad views"));
  }
}

TEST_F(ArrayViewsTest, DamagedViewsAreRefused) {
  for (const char* text : {"{", "[]", "{}", R"({"format": "dormer.views/2"})",
                           R"({"format": "dormer.views/1", "files": {}, "arrays": {"a": {"file": "b"}}})"}) {
    write_file_atomically(folder_.path() / "model.view.json", std::string_view(text));
    EXPECT_THAT(refusal(), HasSubstr("bad views")) << text;
  }
}

}  // namespace
}  // namespace dormer::storage
