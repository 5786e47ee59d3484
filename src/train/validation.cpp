#include "train/validation.hpp"

#include <algorithm>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/parallel/reducer.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "train/agreement.hpp"

namespace dormer::train {
namespace {

parallel::Range share_of(std::int64_t count, int rank, int ranks) {
  return {count * rank / ranks, count * (rank + 1) / ranks};
}

// Loss sum and targets of each of the own micro-batches, one pair after the other; fewer where it did not go on.
std::vector<double> own_sums(const ValidationRequest& request, std::int64_t samples, std::int64_t micro,
                             parallel::Range share) {
  const tensor::NoRecording guard;
  std::vector<double> sums;
  for (std::int64_t index = share.begin; index < share.end; ++index) {
    if (request.goes_on && !request.goes_on()) {
      break;
    }
    const std::int64_t first = index * micro;
    const std::int64_t count = std::min(micro, samples - first);
    const objective::LossSums loss =
        request.task.validation_loss({first, count}, adapter::Pack::solo(request.adapters, count));
    sums.push_back(loss.loss_sum);
    sums.push_back(static_cast<double>(loss.tokens));
  }
  return sums;
}

struct Mean {
  double loss_sum = 0.0;
  double targets = 0.0;
  void add(double loss, double count) {
    loss_sum += loss;
    targets += count;
  }
};

}  // namespace

std::optional<ValidationLoss> validation_loss(comm::Communicator& communicator, const ValidationRequest& request) {
  const std::int64_t samples = std::min(request.samples, request.task.validation_samples());
  const std::vector<std::string> groups = request.task.validation_groups();
  const std::int64_t micro = groups.empty() ? request.micro : 1;
  const std::int64_t micro_batches = (samples + micro - 1) / micro;
  std::vector<std::int64_t> counts;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    counts.push_back(2 * share_of(micro_batches, rank, communicator.size()).count());
  }
  std::vector<double> own;
  agree(communicator, [&] {
    own = own_sums(request, samples, micro, share_of(micro_batches, communicator.rank(), communicator.size()));
  });
  const bool complete = std::ssize(own) == counts.at(static_cast<std::size_t>(communicator.rank()));
  if (request.goes_on && on_any_rank(communicator, !complete)) {
    return std::nullopt;
  }
  const std::vector<double> all = parallel::gather_in_rank_order(communicator, own, counts);
  Mean whole;
  std::vector<Mean> means(groups.size());
  for (std::size_t index = 0; index < all.size(); index += 2) {
    whole.add(all[index], all[index + 1]);
    if (!groups.empty()) {
      means.at(request.task.validation_group(static_cast<std::int64_t>(index / 2))).add(all[index], all[index + 1]);
    }
  }
  ValidationLoss result{.mean = whole.loss_sum / whole.targets, .groups = {}};
  for (std::size_t group = 0; group < groups.size(); ++group) {
    if (means[group].targets > 0.0) {
      result.groups.emplace_back(groups[group], means[group].loss_sum / means[group].targets);
    }
  }
  return result;
}

}  // namespace dormer::train
