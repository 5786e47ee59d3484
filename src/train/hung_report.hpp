#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dormer/core/heartbeat.hpp"

namespace dormer::train {

/// What one rank says of itself when nothing has got on for too long.
struct HungRank {
  int rank = 0;
  std::string host;
  std::int64_t process = 0;
  std::string phase;  ///< "update", "saving", …
  std::int64_t step = 0;
  double seconds = 0.0;        ///< without progress
  std::int64_t operation = 0;  ///< number of the last one
  std::string operation_name;
  std::int64_t operation_bytes = 0;
  bool operation_under_way = false;
};

[[nodiscard]] HungRank hung_rank(int rank, const std::string& host, const Heartbeat::State& state);

/// "rank 1 on host n2 (process 71): update after step 6 without progress for 12 s, waiting in operation 45 (all_gather
/// of 16 bytes)".
[[nodiscard]] std::string describe(const HungRank& rank);

/// Who keeps the others waiting: ranks that said nothing, else those whose last operation has the lowest number, if
/// they are not all in the same one. `hosts` has every rank's, as far as they are known. Pure.
[[nodiscard]] std::string blame(const std::vector<HungRank>& reports, const std::vector<std::string>& hosts);

/// JSON, for the file of a rank.
[[nodiscard]] std::string to_text(const HungRank& rank);
[[nodiscard]] std::optional<HungRank> parse_hung_rank(const std::string& text);

}  // namespace dormer::train
