#include "train/task.hpp"

#include "dormer/core/error.hpp"

namespace dormer::train {

std::vector<objective::LossSums> Task::losses(std::span<const PackedSamples> members, const adapter::Pack& pack,
                                              std::span<const double> divisors,
                                              const objective::LossScale& scale) const {
  invariant(members.size() == 1, "a pack of {} trials, of a task that serves one", members.size());
  objective::LossScale own = scale;
  own.divisor = divisors.front();
  return {members.front().task->loss(members.front().samples, pack, own)};
}

bool Task::write_picture(std::int64_t index, const adapter::AdapterSet& /*adapters*/,
                         const std::filesystem::path& /*file*/, const std::function<bool()>& /*goes_on*/) const {
  invariant(false, "picture {} of a task that makes none", index);
  return false;
}

}  // namespace dormer::train
