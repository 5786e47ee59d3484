#include "dormer/inference/generate.hpp"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/one_hot.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dormer/core/error.hpp"

namespace dormer::inference {
namespace {

using testing::ElementsAre;

constexpr std::int64_t kVocabulary = 10;

/// Holds nothing but a count.
class CountingCache final : public model::KeyValueCache {
 public:
  [[nodiscard]] std::int64_t length() const override { return length_; }
  void grow(std::int64_t tokens) { length_ += tokens; }

 private:
  std::int64_t length_ = 0;
};

/// After token t it wants token t + 1, wrapping around; it counts the tokens that it was asked to read.
class CountingModel final : public model::LanguageModel {
 public:
  explicit CountingModel(std::int64_t positions, std::vector<std::int64_t> end_of_text = {})
      : facts_{.family = "counting",
               .vocabulary = kVocabulary,
               .hidden = kVocabulary,
               .blocks = 0,
               .maximum_positions = positions,
               .compute_dtype = DType::kF32,
               .end_of_text = std::move(end_of_text)},
        head_("head", at::eye(kVocabulary), nullptr, false) {}

  [[nodiscard]] const model::LanguageModelFacts& facts() const override { return facts_; }
  [[nodiscard]] std::span<const adapter::FrozenLayer> layers() const override { return {}; }
  [[nodiscard]] const tensor::BaseWeight& embedding() const override { return head_; }
  [[nodiscard]] const tensor::BaseWeight& head() const override { return head_; }
  [[nodiscard]] std::unique_ptr<model::KeyValueCache> make_cache() const override {
    return std::make_unique<CountingCache>();
  }

  [[nodiscard]] at::Tensor hidden_states(const model::ModelInput& input, const adapter::Pack& pack,
                                         model::KeyValueCache* cache) const override {
    const at::Tensor& tokens = input.tokens;
    EXPECT_EQ(pack.samples(), 1);
    EXPECT_EQ(tokens.size(0), 1);
    tokens_read_ += tokens.size(1);
    if (cache != nullptr) {
      static_cast<CountingCache*>(cache)->grow(tokens.size(1));  // NOLINT: the model made it
      EXPECT_LE(cache->length(), facts_.maximum_positions);
    }
    return at::one_hot(tokens.flatten().add(1).remainder(kVocabulary), kVocabulary).to(at::kFloat).mul(4.0);
  }

  [[nodiscard]] std::int64_t tokens_read() const { return tokens_read_; }

 private:
  model::LanguageModelFacts facts_;
  tensor::BaseWeight head_;
  mutable std::int64_t tokens_read_ = 0;
};

Fault fault_of(std::vector<std::int64_t> prompt, const GenerateOptions& options) {
  try {
    static_cast<void>(generate(CountingModel(8), nullptr, std::move(prompt), options));
  } catch (const Error& error) {
    return error.fault();
  }
  ADD_FAILURE() << "no error";
  return Fault::kBug;
}

TEST(Generate, MakesAsManyTokensAsAsked) {
  const Generation result = generate(CountingModel(100), nullptr, {3, 4}, {.max_new_tokens = 7});
  EXPECT_THAT(result.tokens, ElementsAre(5, 6, 7, 8, 9, 0, 1));
  EXPECT_EQ(result.ending, Ending::kLength);
  // One logit of 4 among nine of 0.
  const double expected = -std::log(1.0 + 9.0 * std::exp(-4.0));
  EXPECT_THAT(result.log_probabilities, testing::Each(testing::DoubleNear(expected, 1e-6)));
  EXPECT_EQ(result.log_probabilities.size(), result.tokens.size());
}

TEST(Generate, EndsAtAnyEndOfTextTokenAndLeavesItOut) {
  const Generation result = generate(CountingModel(100, {2, 8}), nullptr, {4}, {.max_new_tokens = 50});
  EXPECT_THAT(result.tokens, ElementsAre(5, 6, 7));
  EXPECT_EQ(result.ending, Ending::kEndOfText);
}

TEST(Generate, EndsWhereThePositionsEnd) {
  // Positions 0 to 7 hold the prompt and five tokens; a sixth follows from the last position and needs none.
  const Generation result = generate(CountingModel(8), nullptr, {0, 1, 2}, {.max_new_tokens = 50});
  EXPECT_THAT(result.tokens, ElementsAre(3, 4, 5, 6, 7, 8));
  EXPECT_EQ(result.ending, Ending::kPositions);
}

TEST(Generate, ReadsEveryTokenOnceWithACache) {
  const CountingModel cached(100);
  const Generation with = generate(cached, nullptr, {1, 2, 3}, {.max_new_tokens = 5});
  EXPECT_EQ(cached.tokens_read(), 3 + 4);
  const CountingModel plain(100);
  const Generation without = generate(plain, nullptr, {1, 2, 3}, {.max_new_tokens = 5, .use_cache = false});
  EXPECT_EQ(plain.tokens_read(), 3 + 4 + 5 + 6 + 7);
  EXPECT_EQ(with.tokens, without.tokens);
}

TEST(Generate, DrawsDependOnTheSeedAlone) {
  const GenerateOptions hot{.max_new_tokens = 40, .sampling = {.temperature = 3.0, .top_p = 0.95}, .seed = 5};
  GenerateOptions other = hot;
  other.seed = 6;
  const Generation first = generate(CountingModel(100), nullptr, {1}, hot);
  EXPECT_EQ(generate(CountingModel(100), nullptr, {1}, hot).tokens, first.tokens);
  EXPECT_NE(generate(CountingModel(100), nullptr, {1}, other).tokens, first.tokens);
}

TEST(Generate, RefusesWhatItCannotContinue) {
  EXPECT_EQ(fault_of({}, {}), Fault::kInput);
  EXPECT_EQ(fault_of({0, kVocabulary}, {}), Fault::kInput);
  EXPECT_EQ(fault_of({-1}, {}), Fault::kInput);
  EXPECT_EQ(fault_of(std::vector<std::int64_t>(9, 1), {}), Fault::kInput);
  EXPECT_EQ(fault_of({1}, {.max_new_tokens = 0}), Fault::kUsage);
  EXPECT_EQ(fault_of({1}, {.sampling = {.temperature = -0.1}}), Fault::kUsage);
  EXPECT_EQ(fault_of({1}, {.sampling = {.top_p = 0.0}}), Fault::kUsage);
  EXPECT_EQ(fault_of({1}, {.sampling = {.top_p = 1.5}}), Fault::kUsage);
}

}  // namespace
}  // namespace dormer::inference
