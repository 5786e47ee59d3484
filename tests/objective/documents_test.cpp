#include <cmath>
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/objective/next_token.hpp"
#include "support/temp_directory.hpp"
#include "support/tiny_model.hpp"

namespace dormer::objective {
namespace {

using Document = std::vector<std::int64_t>;

Document document(std::int64_t length, std::int64_t seed) {
  Document tokens;
  for (std::int64_t i = 0; i < length; ++i) {
    tokens.push_back((seed * 31 + i * i * 17 + i * 5) % 256);
  }
  return tokens;
}

/// Rows of `length` that hold these documents one after another; targets of `counted` alone (negative: of all).
data::TokenBatch packed(const std::vector<Document>& documents, std::int64_t length, std::int64_t counted = -1) {
  const at::Tensor tokens = at::zeros({1, length + 1}, at::kLong);
  const at::Tensor targets = at::full({1, length}, -100, at::kLong);
  const at::Tensor document_begin = at::zeros({1, length}, at::kLong);
  std::int64_t position = 0;
  for (std::size_t index = 0; index < documents.size(); ++index) {
    const std::int64_t begin = position;
    for (const std::int64_t token : documents[index]) {
      tokens[0][position].fill_(token);
      document_begin[0][position].fill_(begin);
      if (position > begin && (counted < 0 || counted == static_cast<std::int64_t>(index))) {
        targets[0][position - 1].fill_(token);
      }
      ++position;
    }
  }
  for (; position < length; ++position) {
    document_begin[0][position].fill_(position);
  }
  return {tokens, targets, document_begin};
}

class PackedDocuments : public ::testing::Test {
 protected:
  void SetUp() override {
    test::write_tiny_model(folder_.path(), {.maximum_positions = 512});
    model_ = model::load_language_model(folder_.path(), DType::kF32);
    adapter::AdapterConfig config;
    config.rank = 4;
    config.decompose.emplace();
    adapters_ = std::make_unique<adapter::AdapterSet>(config, model_->layers(), RandomKey{3});
    const at::Tensor values = adapters_->space().values();
    for (const tensor::ParameterEntry& entry : adapters_->space().entries()) {
      const at::Tensor part = tensor::FlatSpace::unpadded_part(values, entry);
      if (entry.role == tensor::ParameterRole::kFactorOut) {
        part.fill_(0.02);  // off the start, where A has no gradient
      }
    }
    adapters_->space().mark_written();
    adapters_->refresh();
  }

  double loss(const data::TokenBatch& batch) {
    return next_token_loss(*model_, batch, adapter::Pack::solo(adapters_.get(), 1), {}).loss_sum;
  }

  at::Tensor gradient(const data::TokenBatch& batch) {
    const at::Tensor flat = at::zeros({adapters_->space().size()});
    adapters_->space().bind_gradient(flat);
    (void)next_token_loss(*model_, batch, adapter::Pack::solo(adapters_.get(), 1), {.divisor = 10.0, .backward = true});
    return flat;
  }

  test::TempDirectory folder_;
  std::unique_ptr<model::LanguageModel> model_;
  std::unique_ptr<adapter::AdapterSet> adapters_;
};

// Rows of 300 span several blocks of query positions; 530 computes the probabilities again in the backward pass.
TEST_F(PackedDocuments, HaveTheLossThatEachHasAlone) {
  const std::vector<Document> documents{document(37, 1), document(150, 2), document(5, 3), document(90, 4)};
  for (const std::int64_t length : {300, 510}) {
    double alone = 0.0;
    for (std::size_t index = 0; index < documents.size(); ++index) {
      const double own = loss(packed({documents[index]}, std::ssize(documents[index])));
      const double among_others = loss(packed(documents, length, static_cast<std::int64_t>(index)));
      EXPECT_NEAR(among_others / own, 1.0, 1e-6) << "document " << index;
      alone += own;
    }
    EXPECT_NEAR(loss(packed(documents, length)) / alone, 1.0, 1e-6);
  }
}

TEST_F(PackedDocuments, SendNoGradientToEachOther) {
  const std::vector<Document> documents{document(140, 5), document(33, 6), document(61, 7)};
  for (const std::int64_t length : {250, 510}) {
    const at::Tensor own = gradient(packed({documents[1]}, 33));
    const at::Tensor among_others = gradient(packed(documents, length, 1));
    const double largest = own.abs().max().item<double>();
    EXPECT_GT(largest, 0.0);
    // Sums over the row's length in fp32, in another order: 510 terms of half an ulp each in the worst case.
    EXPECT_LT(among_others.sub(own).abs().max().item<double>(), 510 * 6e-8 * largest);
    // Other neighbours change nothing at all, not even a bit.
    std::vector<Document> others = documents;
    others[0] = document(140, 8);
    others[2] = document(61, 9);
    EXPECT_TRUE(gradient(packed(others, length, 1)).equal(among_others));
  }
}

TEST_F(PackedDocuments, OneDocumentARowIsThePlainRow) {
  const Document tokens = document(65, 10);
  const data::TokenBatch row = packed({tokens}, 64 + 1);
  const data::TokenBatch plain = data::TokenBatch::of_rows(row.tokens().narrow(1, 0, 65));
  EXPECT_NEAR(loss(row) / loss(plain), 1.0, 1e-6);
}

}  // namespace
}  // namespace dormer::objective
