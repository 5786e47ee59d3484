#include "cli/comm_benchmark.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/network_interface.hpp"
#include "dormer/comm/gather.hpp"
#include "dormer/core/buffer_view.hpp"

namespace dormer::cli {
namespace {

constexpr double kMicro = 1e6;
constexpr double kGiga = 1e9;

double seconds_of(const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// What rank `root` has, on all ranks.
double of_rank(comm::Communicator& communicator, double own, int root) {
  communicator.broadcast(view(std::span(&own, 1)), root).wait();
  return own;
}

/// Seconds from rank `from` to rank `to` and back: `elements` there, eight bytes back.
double round_trip(comm::Communicator& communicator, std::pair<int, int> pair, std::span<float> buffer) {
  std::array<float, 2> answer{};
  const auto pass = [&](int from, int to, std::span<float> values) {
    std::vector<comm::Send> sends;
    std::vector<comm::Receive> receives;
    if (communicator.rank() == from) {
      sends.push_back({to, view(std::span<const float>(values))});
    } else if (communicator.rank() == to) {
      receives.push_back({from, view(values)});
    }
    communicator.exchange(sends, receives).wait();
  };
  communicator.barrier();
  return seconds_of([&] {
    pass(pair.first, pair.second, buffer);
    pass(pair.second, pair.first, answer);
  });
}

double median_round_trip(comm::Communicator& communicator, std::pair<int, int> pair, std::span<float> buffer,
                         std::int64_t rounds) {
  round_trip(communicator, pair, buffer);  // connections are made at the first message
  std::vector<double> seconds;
  for (std::int64_t round = 0; round < rounds; ++round) {
    seconds.push_back(round_trip(communicator, pair, buffer));
  }
  return of_rank(communicator, median(std::move(seconds)), pair.first);
}

LinkRow measure_link(comm::Communicator& communicator, std::pair<int, int> pair, std::span<float> buffer,
                     std::int64_t rounds) {
  const double small = median_round_trip(communicator, pair, buffer.first(2), rounds);
  const double large = median_round_trip(communicator, pair, buffer, rounds);
  return {.from = pair.first,
          .to = pair.second,
          .from_host = {},
          .to_host = {},
          .interface = {},
          .microseconds = kMicro * small / 2.0,
          .bytes_per_second = static_cast<double>(buffer.size_bytes()) / std::max(large - small / 2.0, 1e-9)};
}

std::vector<CollectiveRow> measure_collectives(comm::Communicator& communicator, std::span<float> buffer,
                                               std::int64_t rounds) {
  const auto ranks = static_cast<std::int64_t>(communicator.size());
  std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks), std::ssize(buffer) / ranks);
  counts.back() += std::ssize(buffer) % ranks;
  std::vector<float> own(static_cast<std::size_t>(counts[static_cast<std::size_t>(communicator.rank())]));
  const std::vector<std::pair<std::string, std::function<void()>>> operations{
      {"all_reduce", [&] { communicator.all_reduce(view(buffer), comm::ReduceOp::kSum).wait(); }},
      {"reduce_scatter",
       [&] { communicator.reduce_scatter(view(std::span<const float>(buffer)), view(std::span(own)), counts).wait(); }},
      {"all_gather", [&] { communicator.all_gather(view(std::span<const float>(own)), view(buffer), counts).wait(); }}};
  std::vector<CollectiveRow> rows;
  for (const auto& [name, operation] : operations) {
    operation();
    std::vector<double> seconds;
    for (std::int64_t round = 0; round < rounds; ++round) {
      communicator.barrier();
      seconds.push_back(seconds_of(operation));
    }
    double slowest = median(std::move(seconds));
    communicator.all_reduce(view(std::span(&slowest, 1)), comm::ReduceOp::kMax).wait();
    rows.push_back({name, slowest, static_cast<double>(buffer.size_bytes()) / std::max(slowest, 1e-9)});
  }
  return rows;
}

}  // namespace

std::vector<std::pair<int, int>> pairs_to_measure(const std::vector<std::string>& hosts) {
  std::map<std::string, std::vector<int>> ranks;
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    ranks[hosts[rank]].push_back(static_cast<int>(rank));
  }
  std::vector<std::pair<int, int>> pairs;
  for (auto first = ranks.begin(); first != ranks.end(); ++first) {
    if (first->second.size() > 1) {
      pairs.emplace_back(first->second[0], first->second[1]);
    }
    for (auto second = std::next(first); second != ranks.end(); ++second) {
      pairs.emplace_back(std::minmax(first->second[0], second->second[0]));
    }
  }
  std::ranges::sort(pairs);
  return pairs;
}

CommReport measure_comm(comm::Communicator& communicator, const CommBenchmark& benchmark) {
  CommReport report{.transport = communicator.identity().transport,
                    .hosts = comm::gather_texts(communicator, communicator.identity().host),
                    .links = {},
                    .collectives = {}};
  std::vector<float> buffer(static_cast<std::size_t>(benchmark.mebibytes) * (std::size_t{1} << 20U) / sizeof(float));
  for (const auto& pair : pairs_to_measure(report.hosts)) {
    LinkRow row = measure_link(communicator, pair, buffer, benchmark.rounds);
    row.from_host = report.hosts[static_cast<std::size_t>(pair.first)];
    row.to_host = report.hosts[static_cast<std::size_t>(pair.second)];
    const std::string own =
        communicator.rank() == pair.first && row.from_host != row.to_host ? interface_towards(row.to_host) : "memory";
    row.interface = comm::gather_texts(communicator, own)[static_cast<std::size_t>(pair.first)];
    report.links.push_back(std::move(row));
  }
  if (communicator.size() > 1) {
    report.collectives = measure_collectives(communicator, buffer, benchmark.rounds);
  }
  return report;
}

std::string describe(const CommReport& report, const CommBenchmark& benchmark) {
  std::string text =
      fmt::format("{} rank{}, transport {}, messages of {} MiB, medians of {}\n", report.hosts.size(),
                  report.hosts.size() == 1 ? "" : "s", report.transport, benchmark.mebibytes, benchmark.rounds);
  for (const LinkRow& row : report.links) {
    text += fmt::format("  rank {} on {} to rank {} on {}: {:.2f} GB/s, {:.1f} us, by {}\n", row.from, row.from_host,
                        row.to, row.to_host, row.bytes_per_second / kGiga, row.microseconds, row.interface);
  }
  for (const CollectiveRow& row : report.collectives) {
    text += fmt::format("  {} of all ranks: {:.2f} GB/s\n", row.operation, row.bytes_per_second / kGiga);
  }
  return text;
}

std::string to_json(const CommReport& report) {
  nlohmann::ordered_json json{{"format", "dormer.comm/1"}, {"transport", report.transport}, {"hosts", report.hosts}};
  json["links"] = nlohmann::ordered_json::array();
  for (const LinkRow& row : report.links) {
    json["links"].push_back({{"from", row.from},
                             {"to", row.to},
                             {"interface", row.interface},
                             {"microseconds", row.microseconds},
                             {"bytes_per_second", row.bytes_per_second}});
  }
  for (const CollectiveRow& row : report.collectives) {
    json["collectives"][row.operation] = {{"seconds", row.seconds}, {"bytes_per_second", row.bytes_per_second}};
  }
  return json.dump(2) + '\n';
}

}  // namespace dormer::cli
