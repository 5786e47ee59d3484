#include <numeric>

#include "dormer/core/error.hpp"
#include "dormer/parallel/reducer.hpp"

namespace dormer::parallel {

void gather_slices(comm::Communicator& communicator, const SlicePlan& slices, std::span<float> values) {
  invariant(std::ssize(values) == slices.size, "{} values for slices of {} elements", values.size(), slices.size);
  if (communicator.size() == 1) {
    return;
  }
  const Range own = slices.slices.at(static_cast<std::size_t>(communicator.rank()));
  const std::span<float> part =
      values.subspan(static_cast<std::size_t>(own.begin), static_cast<std::size_t>(own.count()));
  communicator.all_gather(view(part), view(values), slices.counts()).wait();
}

std::vector<double> gather_in_rank_order(comm::Communicator& communicator, std::span<const double> own,
                                         std::span<const std::int64_t> counts) {
  invariant(std::ssize(counts) == communicator.size() &&
                counts[static_cast<std::size_t>(communicator.rank())] == std::ssize(own),
            "rank {} brings {} numbers, which is not what was agreed", communicator.rank(), own.size());
  if (communicator.size() == 1) {
    return {own.begin(), own.end()};
  }
  std::vector<double> all(static_cast<std::size_t>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0})));
  communicator.all_gather(view(own), view(std::span(all)), counts).wait();
  return all;
}

}  // namespace dormer::parallel
