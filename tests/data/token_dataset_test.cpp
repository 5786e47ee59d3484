#include "dormer/data/token_dataset.hpp"

#include <numeric>
#include <set>
#include <vector>

#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>

#include "data/document_packing.hpp"
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

const TokenDatasetUse kDocuments{
    .sequence_length = 6, .model_vocabulary = 256, .tokenizer_sha256 = {}, .packing = Packing::kDocuments};

std::vector<std::int64_t> values_of(const at::Tensor& tensor) {
  const auto* values = tensor.const_data_ptr<std::int64_t>();
  return {values, values + tensor.numel()};
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
  const TokenBatch samples = dataset.batch(std::vector<std::int64_t>{2, 0});
  const at::Tensor& batch = samples.tokens();
  ASSERT_EQ(batch.sizes(), (at::IntArrayRef{2, 5}));
  const auto* values = batch.const_data_ptr<std::int64_t>();
  EXPECT_THAT(std::vector<std::int64_t>(values, values + 10), ElementsAre(8, 9, 10, 11, 12, 0, 1, 2, 3, 4));
  EXPECT_THAT(values_of(samples.targets()), ElementsAre(9, 10, 11, 12, 1, 2, 3, 4));
  EXPECT_EQ(samples.document_begin(), nullptr);
  EXPECT_EQ(dataset.targets(2), 4);
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
}

TEST_F(TokenDatasetTest, WholeDocumentsFillRowsAndPredictNothingOfOthers) {
  TokenFile file = counting(20);
  file.offsets = {0, 3, 3, 4, 9, 11, 20};  // lengths 3, 0, 1, 5, 2, 9
  const TokenDataset dataset = open(file, kDocuments);
  // Rows of 6: the beginning of the ninefold one, then 5, then 3 and 2; a document of one token has no target.
  EXPECT_EQ(dataset.samples(), 3);
  const TokenBatch batch = dataset.batch(std::vector<std::int64_t>{0, 1, 2});
  EXPECT_THAT(values_of(batch.tokens()),
              ElementsAre(11, 12, 13, 14, 15, 16, 0, 4, 5, 6, 7, 8, 0, 0, 0, 1, 2, 9, 10, 0, 0));
  EXPECT_THAT(values_of(batch.targets()),
              ElementsAre(12, 13, 14, 15, 16, -100, 5, 6, 7, 8, -100, -100, 1, 2, -100, 10, -100, -100));
  EXPECT_THAT(values_of(*batch.document_begin()), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 3, 3, 5));
  EXPECT_THAT(std::vector({dataset.targets(0), dataset.targets(1), dataset.targets(2)}), ElementsAre(5, 4, 3));
  EXPECT_THAT(dataset.summary(), AllOf(HasSubstr("3 rows of 6 tokens"), HasSubstr("1 documents too long and cut"),
                                       HasSubstr("2 documents without a counted token left out")));
}

TEST_F(TokenDatasetTest, LongDocumentsAreCutLeftOutOrRefusedAsAsked) {
  TokenFile file = counting(20);
  file.offsets = {0, 9, 13, 20};
  TokenDatasetUse use = kDocuments;
  EXPECT_EQ(open(file, use).samples(), 3);
  use.too_long = LongDocuments::kDrop;
  EXPECT_EQ(open(file, use).samples(), 1);
  use.too_long = LongDocuments::kError;
  expect_refusal(file, "document 0 has 9 tokens, more than the 6 of data.sequence_length", use);
}

TEST_F(TokenDatasetTest, TheLossMaskDecidesWhichTargetsCountAndMeansDocuments) {
  TokenFile file = counting(12);
  file.offsets = {0, 5, 8, 12};
  file.loss_mask = {1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0};  // the first token of a document is never a target
  TokenDatasetUse use = kDocuments;
  use.packing = Packing::kAuto;
  const TokenDataset dataset = open(file, use);
  ASSERT_EQ(dataset.samples(), 2) << "the second document has no counted target";
  const TokenBatch batch = dataset.batch(std::vector<std::int64_t>{0, 1});
  EXPECT_THAT(values_of(batch.targets()), ElementsAre(-100, 2, 3, -100, -100, -100, 9, 10, -100, -100, -100, -100));
  EXPECT_EQ(dataset.targets(0), 2);
  use.packing = Packing::kBlocks;
  use.sequence_length = 5;
  const TokenDataset blocks = open(file, use);
  EXPECT_THAT(values_of(blocks.batch(std::vector<std::int64_t>{1}).targets()), ElementsAre(-100, -100, 8, 9, 10));
  EXPECT_EQ(blocks.targets(0), 3);
  EXPECT_EQ(blocks.targets(1), 3);
  file.loss_mask.pop_back();
  expect_refusal(file, "/loss_mask in", use);
  file.loss_mask.push_back(2);
  expect_refusal(file, "holds 2 at position 11, not 0 or 1", use);
  file.loss_mask.assign(12, 0);
  expect_refusal(file, "no token of", use);
  use.packing = Packing::kDocuments;
  expect_refusal(file, "no document with a token to learn", use);
}

TEST(PackDocuments, FillsRowsWellAndInOneWayOnly) {
  std::vector<std::uint64_t> offsets{0};
  std::vector<std::int64_t> targets;
  for (std::uint64_t i = 0; i < 500; ++i) {
    const std::uint64_t length = 2 + (i * i * 7919 + i * 104729) % 61;
    offsets.push_back(offsets.back() + length);
    targets.push_back(static_cast<std::int64_t>(length) - 1);
  }
  const PackingPlan plan = pack_documents(offsets, targets, 128, false);
  std::set<std::int64_t> begins;
  for (const auto& row : plan.rows) {
    std::int64_t used = 0;
    for (const PackedDocument& document : row) {
      EXPECT_TRUE(begins.insert(document.begin).second);
      used += document.length;
    }
    EXPECT_LE(used, 128);
  }
  EXPECT_EQ(begins.size(), 500U);
  EXPECT_LE(plan.rows.size(), offsets.back() / 128 * 102 / 100 + 1) << "best fit of small pieces leaves little room";
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
