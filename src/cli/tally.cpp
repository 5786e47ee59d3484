#include "cli/tally.hpp"

#include <fmt/format.h>

namespace dormer::cli {

void Tally::add(const std::string& text) {
  if (counts_[text]++ == 0) {
    order_.push_back(text);
  }
}

std::vector<std::string> Tally::lines() const {
  std::vector<std::string> result;
  for (const std::string& text : order_) {
    result.push_back(fmt::format("{:>4} x {}", counts_.at(text), text));
  }
  return result;
}

}  // namespace dormer::cli
