#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dormer/comm/communicator.hpp"

namespace dormer::cli {

/// What `dormer bench comm` measures with.
struct CommBenchmark {
  std::int64_t mebibytes = 16;  ///< of a message, and of the buffer of a collective operation
  std::int64_t rounds = 9;
};

/// From the first rank of a host to one of another, or to the host's second rank.
struct LinkRow {
  int from = 0;
  int to = 0;
  std::string from_host;
  std::string to_host;
  std::string interface;          ///< by which the system reaches the other host; "memory" within one
  double microseconds = 0.0;      ///< one way, of a message of 8 bytes
  double bytes_per_second = 0.0;  ///< one way
};

/// An operation of all ranks.
struct CollectiveRow {
  std::string operation;
  double seconds = 0.0;
  double bytes_per_second = 0.0;  ///< of the buffer
};

struct CommReport {
  std::string transport;
  std::vector<std::string> hosts;  ///< of every rank
  std::vector<LinkRow> links;
  std::vector<CollectiveRow> collectives;
};

/// Which pairs of ranks are measured: for every two hosts their first ranks, for every host its first two. Pure.
[[nodiscard]] std::vector<std::pair<int, int>> pairs_to_measure(const std::vector<std::string>& hosts);

/// Medians of the rounds. All ranks call; all get the same report.
[[nodiscard]] CommReport measure_comm(comm::Communicator& communicator, const CommBenchmark& benchmark);

[[nodiscard]] std::string describe(const CommReport& report, const CommBenchmark& benchmark);
[[nodiscard]] std::string to_json(const CommReport& report);

}  // namespace dormer::cli
