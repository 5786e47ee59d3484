#include "train/text_task.hpp"

#include <numeric>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/core/error.hpp"

namespace dormer::train {

TextTask::TextTask(Parts parts)
    : parts_(std::move(parts)), order_(parts_.training ? parts_.training->samples() : 1, parts_.seed, parts_.shuffle) {}

std::int64_t TextTask::targets(const SampleRange& samples) const {
  std::int64_t targets = 0;
  for (std::int64_t index = 0; index < samples.count; ++index) {
    targets += parts_.training->targets(order_.sample_at(samples.first + index));
  }
  return targets;
}

objective::LossSums TextTask::loss(const SampleRange& samples, const adapter::Pack& pack,
                                   const objective::LossScale& scale) const {
  return objective::next_token_loss(*parts_.model, parts_.training->batch(chosen(samples)), pack, scale);
}

bool TextTask::shares_passes_with(const Task& other) const {
  const TextTask* text = other.text();
  return text != nullptr && text->parts_.model == parts_.model && text->parts_.training == parts_.training;
}

std::vector<objective::LossSums> TextTask::losses(std::span<const PackedSamples> members, const adapter::Pack& pack,
                                                  std::span<const double> divisors,
                                                  const objective::LossScale& scale) const {
  std::vector<std::int64_t> numbers;
  for (const PackedSamples& member : members) {
    invariant(shares_passes_with(*member.task), "trials of several models or data sets in one pack");
    const std::vector<std::int64_t> own = member.task->text()->chosen(member.samples);
    numbers.insert(numbers.end(), own.begin(), own.end());
  }
  return objective::next_token_losses(*parts_.model, parts_.training->batch(numbers), pack, divisors, scale);
}

void TextTask::visit_arrays(const SampleRange& samples, const ArrayVisitor& visit) const {
  const data::TokenBatch batch = parts_.training->batch(chosen(samples));
  visit("tokens", batch.tokens(), DType::kI64);
  visit("targets", batch.targets(), DType::kI64);
  if (batch.document_begin() != nullptr) {
    visit("document_begin", *batch.document_begin(), DType::kI64);
  }
}

std::vector<std::int64_t> TextTask::chosen(const SampleRange& samples) const {
  std::vector<std::int64_t> numbers;
  for (std::int64_t index = 0; index < samples.count; ++index) {
    numbers.push_back(order_.sample_at(samples.first + index));
  }
  return numbers;
}

std::int64_t TextTask::validation_samples() const {
  return parts_.validation ? parts_.validation->samples() : 0;
}

objective::LossSums TextTask::validation_loss(const SampleRange& samples, const adapter::Pack& pack) const {
  std::vector<std::int64_t> chosen(static_cast<std::size_t>(samples.count));
  std::iota(chosen.begin(), chosen.end(), samples.first);
  return objective::next_token_loss(*parts_.model, parts_.validation->batch(chosen), pack, {});
}

interop::BaseFacts TextTask::base_facts() const {
  return interop::facts_of(parts_.model->layers(), parts_.folder);
}

std::map<std::string, std::string> TextTask::fingerprints() const {
  return {{"data.train", parts_.training->fingerprint()},
          {"data.validation", parts_.validation ? parts_.validation->fingerprint() : "none"}};
}

}  // namespace dormer::train
