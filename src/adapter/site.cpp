#include "dormer/adapter/site.hpp"

#include <functional>
#include <numeric>

#include <fmt/ranges.h>

namespace dormer::adapter {

std::int64_t Site::taps() const {
  return std::accumulate(convolution.kernel.begin(), convolution.kernel.end(), std::int64_t{1}, std::multiplies<>());
}

std::string Site::shape_text() const {
  std::vector<std::int64_t> sizes{out, channels()};
  sizes.insert(sizes.end(), convolution.kernel.begin(), convolution.kernel.end());
  return fmt::format("{}", fmt::join(sizes, " x "));
}

std::string_view name_of(Axis axis) {
  return axis == Axis::kOutput ? "output" : "input";
}

std::int64_t norm_count(const Site& site, Axis axis) {
  return axis == Axis::kOutput ? site.out : site.channels();
}

}  // namespace dormer::adapter
