#include "dormer/data/concept_scan.hpp"

#include <fstream>

#include <gmock/gmock.h>

#include "data/images/caption_files.hpp"
#include "dormer/core/error.hpp"
#include "support/png_file.hpp"
#include "support/temp_directory.hpp"

namespace dormer::data {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ConceptScanTest : public ::testing::Test {
 protected:
  void image(const std::string& name, std::uint32_t width = 16, std::uint32_t height = 16) const {
    test::write_png(folder_.path() / name, {.width = width, .height = height});
  }
  void text(const std::string& name, const std::string& contents) const {
    fs::create_directories((folder_.path() / name).parent_path());
    std::ofstream(folder_.path() / name, std::ios::binary) << contents;
  }
  [[nodiscard]] ConceptConfig in(const std::string& name, const std::string& captions = "none") const {
    ConceptConfig config;
    config.path = folder_.path() / name;
    config.captions = captions;
    return config;
  }
  [[nodiscard]] static ConceptScan scan(const std::vector<ConceptConfig>& concepts,
                                        BadFiles policy = BadFiles::kRefuse) {
    return scan_concepts(concepts, policy);
  }
  [[nodiscard]] std::vector<std::string> names(const ConceptScan& scanned) const {
    std::vector<std::string> result;
    for (const ConceptImage& found : scanned.images) {
      result.push_back(found.file.path.lexically_relative(folder_.path()).generic_string());
    }
    return result;
  }
  static void expect_error(Fault fault, const std::string& text, const std::vector<ConceptConfig>& concepts,
                           BadFiles policy = BadFiles::kRefuse) {
    try {
      static_cast<void>(scan(concepts, policy));
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), fault) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  }
  [[nodiscard]] const fs::path& folder() const { return folder_.path(); }

 private:
  test::TempDirectory folder_;
};

TEST_F(ConceptScanTest, ImagesComeByConceptAndName) {
  for (const char* name : {"b/2.png", "b/10.PNG", "b/Z.png", "b/sub/1.png", "a/x.png"}) {
    image(name);
  }
  text("b/notes.txt", "no image");
  text("b/.hidden.png", "left behind by an editor");
  image("b/.cache/1.png");
  image("b/2-masklabel.png");
  EXPECT_THAT(names(scan({in("b"), in("a")})), ElementsAre("b/10.PNG", "b/2.png", "b/Z.png", "b/sub/1.png", "a/x.png"));
  fs::create_directory_symlink(folder() / "b/sub", folder() / "b/linked");
  fs::create_symlink(folder() / "a/x.png", folder() / "b/link.png");
  EXPECT_THAT(names(scan({in("b")})), ElementsAre("b/10.PNG", "b/2.png", "b/Z.png", "b/link.png", "b/sub/1.png"));
  fs::remove(folder() / "b/link.png");
  fs::create_symlink(folder() / "nowhere", folder() / "b/link.png");
  expect_error(Fault::kInput, "image not found: ", {in("b")});
  fs::remove(folder() / "b/link.png");
  ConceptConfig flat = in("b/");
  flat.subfolders = false;
  EXPECT_THAT(names(scan({flat})), ElementsAre("b/10.PNG", "b/2.png", "b/Z.png"));
}

TEST_F(ConceptScanTest, EntriesSaySizeAndContent) {
  image("a/1.png", 24, 16);
  fs::copy_file(folder() / "a/1.png", folder() / "a/2.png");
  image("a/3.png", 16, 24);
  const ConceptScan scanned = scan({in("a")});
  EXPECT_EQ(scanned.images[0].entry.size, (ImageSize{24, 16}));
  EXPECT_EQ(scanned.images[0].entry.content.size(), 32U);
  EXPECT_EQ(scanned.images[0].entry.content, scanned.images[1].entry.content);
  EXPECT_NE(scanned.images[0].entry.content, scanned.images[2].entry.content);
}

TEST_F(ConceptScanTest, CaptionsComeFromWhereTheConceptSays) {
  image("5_my teapot/a b.png");
  text("5_my teapot/a b.txt", "\xEF\xBB\xBF  a teapot \r\n\n\ta téapot on a table\n");
  image("5_my teapot/c.png");
  text("5_my teapot/c.caption", " \n");
  text("prompts.txt", "first\nsecond");
  const auto captions = [&](const std::string& source) {
    const ConceptScan scanned = scan({in("5_my teapot", source)});
    return std::pair{scanned.images[0].entry.captions, scanned.images[1].entry.captions};
  };
  using Lines = std::vector<std::string>;
  EXPECT_EQ(captions("sidecar"), (std::pair<Lines, Lines>{{"a teapot", "a téapot on a table"}, {""}}));
  EXPECT_EQ(captions("filename"), (std::pair<Lines, Lines>{{"a b"}, {"c"}}));
  EXPECT_EQ(captions("folder"), (std::pair<Lines, Lines>{{"my teapot"}, {"my teapot"}}));
  EXPECT_EQ(captions("none"), (std::pair<Lines, Lines>{{""}, {""}}));
  EXPECT_EQ(captions((folder() / "prompts.txt").string()),
            (std::pair<Lines, Lines>{{"first", "second"}, {"first", "second"}}));
  expect_error(Fault::kUsage, "captions of the concept 5_my teapot shall be in sidecars",
               {in("5_my teapot", "sidecars")});
}

TEST_F(ConceptScanTest, RepeatsComeFromTheConceptOrTheNearestNumberedFolder) {
  image("10_dog/1.png");
  image("10_dog/3_puppy/old/2.png");
  image("10_dog/x_3/3.png");
  const auto repeats = [&](const ConceptConfig& config) {
    std::vector<double> found;
    for (const ConceptImage& image : scan({config}).images) {
      found.push_back(image.file.repeats);
    }
    return found;
  };
  EXPECT_THAT(repeats(in("10_dog")), ElementsAre(10.0, 3.0, 10.0));
  ConceptConfig config = in("10_dog");
  config.repeats = 0.5;
  EXPECT_THAT(repeats(config), ElementsAre(0.5, 0.5, 0.5));
  config.samples = 12;
  EXPECT_THAT(repeats(config), ElementsAre(4.0, 4.0, 4.0)) << "12 drawings of 3 images";
}

TEST_F(ConceptScanTest, EveryBadFileIsNamedWithItsReason) {
  image("a/1.png");
  text("a/1.txt", "good");
  text("a/2.png", "no image");
  text("a/2.txt", "good");
  image("a/3.png");
  image("a/4.png");
  text("a/4.txt", "\xC3\x28");
  image("a/5.png", 7, 7);
  text("a/5.txt", "good");
  text("a/6.bmp", "BM");
  text("a/6.txt", "good");
  const ConceptScan scanned = scan({in("a", "sidecar")}, BadFiles::kSkip);
  EXPECT_THAT(names(scanned), ElementsAre("a/1.png"));
  EXPECT_THAT(scanned.bad,
              ElementsAre(AllOf(HasSubstr("2.png"), HasSubstr("cannot be read as an image")),
                          AllOf(HasSubstr("3.png has no caption"), HasSubstr("neither 3.txt nor 3.caption")),
                          AllOf(HasSubstr("4.txt"), HasSubstr("no text in UTF-8")),
                          AllOf(HasSubstr("5.png"), HasSubstr("too small")), HasSubstr("6.bmp")));
  expect_error(Fault::kInput, "5 of 6 images cannot be used", {in("a", "sidecar")});
  expect_error(Fault::kInput, "3.png has no caption", {in("a", "sidecar")});
}

TEST_F(ConceptScanTest, AnErrorNamesTwentyAndCountsTheRest) {
  image("a/good.png");
  for (int i = 10; i < 35; ++i) {
    text(fmt::format("a/{}.png", i), "");
  }
  expect_error(Fault::kInput, "a/29.png", {in("a")});
  expect_error(Fault::kInput, "\n  and 5 more", {in("a")});
}

TEST_F(ConceptScanTest, MasksBelongToTheirImageAndHaveItsSize) {
  for (const char* name : {"a/1.png", "a/1-masklabel.png", "a/2.png", "a/3.png"}) {
    image(name, 24, 16);
  }
  image("a/2-masklabel.png", 16, 24);
  ConceptConfig config = in("a");
  config.masks.source = "sidecar";
  const ConceptScan scanned = scan({config}, BadFiles::kSkip);
  EXPECT_THAT(names(scanned), ElementsAre("a/1.png"));
  EXPECT_EQ(scanned.images[0].entry.mask, folder() / "a/1-masklabel.png");
  EXPECT_EQ(scanned.images[0].entry.mask_content.size(), 32U);
  EXPECT_THAT(scanned.bad, ElementsAre(AllOf(HasSubstr("2-masklabel.png is 16x24 pixels"), HasSubstr("24x16")),
                                       HasSubstr("3.png has no mask")));
  config.masks.required = false;
  EXPECT_THAT(names(scan({config}, BadFiles::kSkip)), ElementsAre("a/1.png", "a/3.png"));
  config.masks.source = (folder() / "masks").string();
  expect_error(Fault::kUsage, "which is no folder", {config});
  image("masks/sub/4.png");
  image("a/sub/4.png");
  EXPECT_EQ(scan({config}, BadFiles::kSkip).images.back().entry.mask, folder() / "masks/sub/4.png");
}

TEST_F(ConceptScanTest, ConceptsWithoutImagesAreNamed) {
  expect_error(Fault::kUsage, "the concept teapot has no folder", {in("teapot")});
  fs::create_directory(folder() / "teapot");
  expect_error(Fault::kUsage, "the concept teapot has no image in", {in("teapot")});
  text("teapot/1.png", "none");
  expect_error(Fault::kInput, "no image of the concept teapot", {in("teapot")}, BadFiles::kSkip);
}

TEST_F(ConceptScanTest, RanksShareTheReading) {
  std::vector<ConceptConfig> concepts{in("a"), in("b")};
  for (int i = 0; i < 5; ++i) {
    image(fmt::format("a/{}.png", i), 16 + static_cast<std::uint32_t>(i));
    image(fmt::format("b/{}.png", i), 16, 16 + static_cast<std::uint32_t>(i));
  }
  text("b/2.png", "bad");
  const std::vector<ImageFile> files = list_images(concepts);
  const std::vector<ImageEntry> all = read_entries(concepts, files, 0, files.size());
  for (std::size_t cut = 0; cut <= files.size(); ++cut) {
    std::vector<ImageEntry> entries = read_entries(concepts, files, 0, cut);
    const std::vector<ImageEntry> rest = read_entries(concepts, files, cut, files.size());
    entries.insert(entries.end(), rest.begin(), rest.end());
    EXPECT_EQ(entries, all);
  }
}

TEST_F(ConceptScanTest, ItemsOfAPlanKnowBucketAndRepeats) {
  image("2_a/1.png", 64, 64);
  image("2_a/2.png", 128, 64);
  image("2_a/3_b/3.png", 64, 64);
  const ConceptScan scanned = scan({in("2_a")});
  const std::vector<Bucket> buckets{{{64, 64}, 64}, {{128, 32}, 64}, {{88, 40}, 64}};
  const std::vector<BucketItem> items = bucket_items(scanned.images, buckets);
  EXPECT_THAT(std::vector({items[0].bucket, items[1].bucket, items[2].bucket}), ElementsAre(0, 2, 0));
  EXPECT_EQ(items[0].group, items[1].group);
  EXPECT_NE(items[0].group, items[2].group);
  EXPECT_EQ(items[2].repeats, 3.0);
}

TEST(FolderName, BeginsWithRepeats) {
  const auto read = [](const char* name) {
    const FolderName found = read_folder_name(name);
    return std::pair{found.repeats, found.caption};
  };
  EXPECT_EQ(read("10_sks dog"), (std::pair<double, std::string>{10.0, "sks dog"}));
  for (const char* name :
       {"dog", "10", "10dog", "_dog", "0_dog", "-3_dog", "1.5_dog", "99999999999999999999_dog", ""}) {
    EXPECT_EQ(read(name), (std::pair<double, std::string>{0.0, name}));
  }
}

TEST(Utf8, IsWellFormed) {
  for (const char* text : {"", "a", "é", "€", "😀", "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF"}) {
    EXPECT_TRUE(is_utf8(text)) << text;
  }
  for (const char* text : {"\x80", "\xC3", "\xC3(", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
                           "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "a\xFF", "\xE2\x82"}) {
    EXPECT_FALSE(is_utf8(text)) << text;
  }
}

}  // namespace
}  // namespace dormer::data
