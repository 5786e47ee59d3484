#include <algorithm>

#include "dormer/kernels/elements.hpp"
#include "dormer/kernels/kernels.hpp"

namespace dormer::kernels {
namespace {

/// Elements that one item of an operation touches: threads are worth their start only for enough of them.
template <ElementOperation Arguments>
std::int64_t width_of(const Arguments& /*arguments*/) {
  return 1;
}
template <typename Arguments>
requires requires(const Arguments& arguments) {
  arguments.width;
}
std::int64_t width_of(const Arguments& arguments) {
  return arguments.width;
}
template <typename Element>
std::int64_t width_of(const ScaleColumnsBackwardArguments<Element>& arguments) {
  return arguments.rows;
}
template <typename Element>
std::int64_t width_of(const CausalSoftmaxArguments<Element>& arguments) {
  return arguments.keys;
}
template <typename Element>
std::int64_t width_of(const SoftmaxBackwardArguments<Element>& arguments) {
  return arguments.keys;
}
template <typename Element>
std::int64_t width_of(const CrossEntropyArguments<Element>& arguments) {
  return arguments.vocabulary;
}
template <typename Element>
std::int64_t width_of(const RotaryArguments<Element>& arguments) {
  return arguments.groups * arguments.heads_per_group * arguments.width;
}
template <typename Element>
std::int64_t width_of(const DropoutArguments<Element>& /*arguments*/) {
  return 4;
}
template <typename Element>
std::int64_t width_of(const CancellingNormsArguments<Element>& arguments) {
  return arguments.width * arguments.rank;
}
std::int64_t width_of(const SquaredBlocksArguments& arguments) {
  return arguments.block;
}

class HostLoops final : public ComputedBy<HostLoops> {
 public:
  explicit HostLoops(ForParts for_parts) : for_parts_(for_parts) {}

  template <typename Arguments>
  void compute(const Arguments& arguments, std::int64_t count) const {
    const std::int64_t width = std::max<std::int64_t>(1, width_of(arguments));
    const std::int64_t grain = std::max<std::int64_t>(1, 16'384 / width);  // at least 16 Ki elements a thread
    for_parts_(count, grain, [&](std::int64_t begin, std::int64_t end) { compute_range(arguments, {begin, end}); });
  }

 private:
  ForParts for_parts_;
};

}  // namespace

std::unique_ptr<Kernels> host_loops(ForParts for_parts) {
  return std::make_unique<HostLoops>(for_parts);
}

}  // namespace dormer::kernels
