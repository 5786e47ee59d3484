#include "dormer/data/token_dataset.hpp"

#include <numeric>

#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"
#include "support/token_file.hpp"

namespace dormer::data {
namespace {

using test::TokenFile;
using test::write_token_file;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TokenFile counting(std::size_t count) {
  TokenFile file;
  file.tokens.resize(count);
  std::iota(file.tokens.begin(), file.tokens.end(), 0U);
  return file;
}

class TokenDatasetTest : public ::testing::Test {
 protected:
  [[nodiscard]] TokenDataset open(const TokenFile& contents,
                                  TokenDatasetUse use = {
                                      .sequence_length = 4, .model_vocabulary = 256, .tokenizer_sha256 = {}}) const {
    write_token_file(folder_.path() / "train.h5", contents);
    return TokenDataset(folder_.path() / "train.h5", use);
  }

  void expect_refusal(const TokenFile& contents, const std::string& text,
                      TokenDatasetUse use = {
                          .sequence_length = 4, .model_vocabulary = 256, .tokenizer_sha256 = {}}) const {
    try {
      static_cast<void>(open(contents, use));
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      EXPECT_THAT(error.what(), AllOf(HasSubstr("train.h5"), HasSubstr(text)));
    }
  }

 private:
  test::TempDirectory folder_;
};

TEST_F(TokenDatasetTest, SamplesShareTheirLastTokenWithTheNextOne) {
  const TokenDataset dataset = open(counting(14));
  EXPECT_EQ(dataset.samples(), 3);
  EXPECT_EQ(dataset.tokens(), 14);
  const at::Tensor batch = dataset.batch(std::vector<std::int64_t>{2, 0});
  ASSERT_EQ(batch.sizes(), (at::IntArrayRef{2, 5}));
  const auto* values = batch.const_data_ptr<std::int64_t>();
  EXPECT_THAT(std::vector<std::int64_t>(values, values + 10), ElementsAre(8, 9, 10, 11, 12, 0, 1, 2, 3, 4));
}

TEST_F(TokenDatasetTest, TheLastTargetBelongsToASample) {
  EXPECT_EQ(open(counting(5)).samples(), 1);
  EXPECT_EQ(open(counting(8)).samples(), 1);
  EXPECT_EQ(open(counting(9)).samples(), 2);
}

TEST_F(TokenDatasetTest, DocumentsAreCounted) {
  TokenFile file = counting(14);
  file.offsets = {0, 3, 3, 14};
  EXPECT_EQ(open(file).documents(), 3);
}

TEST_F(TokenDatasetTest, FingerprintFollowsTheContents) {
  TokenFile file = counting(14);
  const std::string original = open(file).fingerprint();
  EXPECT_EQ(open(file).fingerprint(), original);
  file.tokens[7] = 0;
  EXPECT_NE(open(file).fingerprint(), original);
  file = counting(14);
  file.offsets = {0, 7, 14};
  EXPECT_NE(open(file).fingerprint(), original);
}

TEST_F(TokenDatasetTest, RefusesWhatIsNoTokenSet) {
  TokenFile file = counting(14);
  file.format.reset();
  expect_refusal(file, "format is missing");
  file.format = "dormer.tokens/9";
  expect_refusal(file, "format is 'dormer.tokens/9'");
  file = counting(14);
  file.vocab_size.reset();
  expect_refusal(file, "no attribute vocab_size");
  file = counting(14);
  file.loss_mask = true;
  expect_refusal(file, "loss mask");
}

TEST_F(TokenDatasetTest, RefusesBadOffsets) {
  TokenFile file = counting(14);
  file.offsets = {1, 14};
  expect_refusal(file, "begins with 1, not 0");
  file.offsets = {0, 9, 8, 14};
  expect_refusal(file, "falls from 9 to 8 at position 2");
  file.offsets = {0, 13};
  expect_refusal(file, "ends at 13, but there are 14 tokens");
}

TEST_F(TokenDatasetTest, RefusesIdsBeyondTheVocabulary) {
  TokenFile file = counting(14);
  file.vocab_size = 13;
  expect_refusal(file, "token id 13 at position 13, but the vocabulary ends at 12");
}

TEST_F(TokenDatasetTest, RefusesAnotherModelsTokens) {
  const TokenFile file = counting(14);
  expect_refusal(file, "vocabulary of 256 tokens, the model has 255",
                 {.sequence_length = 4, .model_vocabulary = 255, .tokenizer_sha256 = {}});
  expect_refusal(file, "another tokenizer",
                 {.sequence_length = 4, .model_vocabulary = 256, .tokenizer_sha256 = std::string(64, 'f')});
  EXPECT_EQ(
      open(file, {.sequence_length = 4, .model_vocabulary = 256, .tokenizer_sha256 = std::string(64, '0')}).samples(),
      3);
}

TEST_F(TokenDatasetTest, RefusesTextThatIsShorterThanASample) {
  expect_refusal(counting(4), "too few for one sample of 4");
  expect_refusal(counting(0), "too few for one sample of 4");
}

}  // namespace
}  // namespace dormer::data
