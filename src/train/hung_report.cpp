#include "train/hung_report.hpp"

#include <algorithm>

#include <fmt/ranges.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

namespace dormer::train {
namespace {

std::string name_of(std::size_t rank, const std::string& host) {
  return host.empty() ? fmt::format("rank {}", rank) : fmt::format("rank {} on host {}", rank, host);
}

// Ranks as "rank 1 on host n1, rank 3 on host n2".
std::string list(const std::vector<std::size_t>& ranks, const std::vector<std::string>& hosts) {
  std::vector<std::string> names;
  for (const std::size_t rank : ranks) {
    names.push_back(name_of(rank, rank < hosts.size() ? hosts[rank] : std::string()));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

HungRank hung_rank(int rank, const std::string& host, const Heartbeat::State& state) {
  return {.rank = rank,
          .host = host,
          .process = ::getpid(),
          .phase = std::string(state.what),
          .step = state.step,
          .seconds = state.seconds,
          .operation = state.operation.number,
          .operation_name = std::string(state.operation.name),
          .operation_bytes = state.operation.bytes,
          .operation_under_way = state.operation.under_way > 0};
}

std::string describe(const HungRank& rank) {
  return fmt::format(
      "rank {} on host {} (process {}): {} after step {} without progress for {:.0f} s, {} operation {} "
      "({} of {} bytes)",
      rank.rank, rank.host, rank.process, rank.phase, rank.step, rank.seconds,
      rank.operation_under_way ? "waiting in" : "last", rank.operation, rank.operation_name, rank.operation_bytes);
}

std::string blame(const std::vector<HungRank>& reports, const std::vector<std::string>& hosts) {
  std::vector<std::size_t> silent;
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    if (std::ranges::none_of(reports, [&](const HungRank& one) { return one.rank == static_cast<int>(rank); })) {
      silent.push_back(rank);
    }
  }
  if (!silent.empty()) {
    return fmt::format("{} did not answer: stopped, or cut off from this file system", list(silent, hosts));
  }
  // A rank that works or is stuck outside of the exchange is behind the others, or has not entered what they wait in.
  const auto place = [](const HungRank& one) { return 2 * one.operation + (one.operation_under_way ? 1 : 0); };
  const auto [least, most] = std::ranges::minmax(reports, {}, place);
  if (place(least) == place(most)) {
    return least.operation_under_way
               ? fmt::format("every rank waits in operation {} ({}): look at the network between them", least.operation,
                             least.operation_name)
               : "every rank is busy or stuck outside of an exchange: look at the file system and at the devices";
  }
  std::vector<std::size_t> behind;
  for (const HungRank& one : reports) {
    if (place(one) == place(least)) {
      behind.push_back(static_cast<std::size_t>(one.rank));
    }
  }
  std::ranges::sort(behind);
  return fmt::format("{} did not reach operation {} ({}), in which others wait", list(behind, hosts), most.operation,
                     most.operation_name);
}

std::string to_text(const HungRank& rank) {
  const nlohmann::ordered_json json = {{"rank", rank.rank},
                                       {"host", rank.host},
                                       {"process", rank.process},
                                       {"phase", rank.phase},
                                       {"step", rank.step},
                                       {"seconds", rank.seconds},
                                       {"operation", rank.operation},
                                       {"operation_name", rank.operation_name},
                                       {"operation_bytes", rank.operation_bytes},
                                       {"operation_under_way", rank.operation_under_way}};
  return json.dump(2) + '\n';
}

std::optional<HungRank> parse_hung_rank(const std::string& text) {
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    return HungRank{.rank = json.at("rank"),
                    .host = json.at("host"),
                    .process = json.at("process"),
                    .phase = json.at("phase"),
                    .step = json.at("step"),
                    .seconds = json.at("seconds"),
                    .operation = json.at("operation"),
                    .operation_name = json.at("operation_name"),
                    .operation_bytes = json.at("operation_bytes"),
                    .operation_under_way = json.at("operation_under_way")};
  } catch (const nlohmann::json::exception&) {  // not a report, or one that is being written
    return std::nullopt;
  }
}

}  // namespace dormer::train
