#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace dormer::cli {

/// Equal descriptions with their number, in the order in which they first came.
class Tally {
 public:
  void add(const std::string& text);
  [[nodiscard]] std::vector<std::string> lines() const;  ///< "  12 x text"

 private:
  std::map<std::string, std::int64_t> counts_;
  std::vector<std::string> order_;
};

}  // namespace dormer::cli
