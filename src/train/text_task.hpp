#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "dormer/data/sample_order.hpp"
#include "dormer/data/token_dataset.hpp"
#include "dormer/model/language_model.hpp"
#include "train/task.hpp"

namespace dormer::train {

/// A causal language model learns the next token of its data.
class TextTask final : public Task {
 public:
  struct Parts {
    // Shared by the runs of one process (SharedBases), which end one by one.
    std::shared_ptr<const model::LanguageModel> model;
    std::filesystem::path folder{};  ///< of the model, where its names and tokenizer are
    std::shared_ptr<const data::TokenDataset> training{};
    std::shared_ptr<const data::TokenDataset> validation{};  ///< null: none
    adapter::AddedTokensRequest added_tokens{};
    RandomKey seed{};
    bool shuffle = true;
  };
  explicit TextTask(Parts parts);

  [[nodiscard]] std::span<const adapter::FrozenLayer> layers() const override { return parts_.model->layers(); }
  [[nodiscard]] adapter::AddedTokensRequest added_tokens() const override { return parts_.added_tokens; }
  [[nodiscard]] std::int64_t samples() const override { return parts_.training->samples(); }
  [[nodiscard]] std::int64_t tokens_per_sample() const override { return parts_.training->sequence_length(); }
  [[nodiscard]] std::int64_t sample_at(std::int64_t position) const override { return order_.sample_at(position); }
  [[nodiscard]] std::int64_t targets(const SampleRange& samples) const override;
  [[nodiscard]] objective::LossSums loss(const SampleRange& samples, const adapter::Pack& pack,
                                         const objective::LossScale& scale) const override;
  [[nodiscard]] bool shares_passes_with(const Task& other) const override;
  [[nodiscard]] std::vector<objective::LossSums> losses(std::span<const PackedSamples> members,
                                                        const adapter::Pack& pack, std::span<const double> divisors,
                                                        const objective::LossScale& scale) const override;
  [[nodiscard]] std::int64_t validation_samples() const override;
  [[nodiscard]] objective::LossSums validation_loss(const SampleRange& samples,
                                                    const adapter::Pack& pack) const override;
  void visit_arrays(const SampleRange& samples, const ArrayVisitor& visit) const override;
  [[nodiscard]] interop::BaseFacts base_facts() const override;
  [[nodiscard]] std::map<std::string, std::string> fingerprints() const override;
  [[nodiscard]] const TextTask* text() const override { return this; }

  [[nodiscard]] const model::LanguageModel& model() const { return *parts_.model; }
  [[nodiscard]] const data::TokenDataset& training() const { return *parts_.training; }
  [[nodiscard]] const data::TokenDataset* validation() const { return parts_.validation.get(); }
  [[nodiscard]] const data::SampleOrder& order() const { return order_; }

 private:
  [[nodiscard]] std::vector<std::int64_t> chosen(const SampleRange& samples) const;

  Parts parts_;
  data::SampleOrder order_;
};

}  // namespace dormer::train
