#include "sweep/trial_feed.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include <nlohmann/json.hpp>

#include "dormer/comm/gather.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/stop.hpp"

namespace dormer::sweep {
namespace {

constexpr std::chrono::milliseconds kPoll{200};
constexpr std::chrono::minutes kDiskPatience{10};
constexpr double kLook = 5.0;  // seconds between two looks for what others have done, while there is work

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

nlohmann::json to_json(const Claim& claim) {
  nlohmann::json message{{"assignments", nlohmann::json::array()}};
  if (claim.end) {
    message["end"] = static_cast<int>(*claim.end);
  }
  for (const Assignment& one : claim.assignments) {
    nlohmann::json settings = nlohmann::json::array();
    for (const Setting& setting : one.settings) {
      settings.push_back({setting.path, setting.text});
    }
    message["assignments"].push_back({{"trial", one.trial},
                                      {"point", one.point},
                                      {"replica", one.replica},
                                      {"attempt", one.attempt},
                                      {"until", one.until},
                                      {"settings", settings}});
  }
  return message;
}

Claim parse_claim(const nlohmann::json& message) {
  Claim claim;
  if (message.contains("end")) {
    claim.end = static_cast<WorkEnd>(message.at("end").get<int>());
  }
  for (const nlohmann::json& one : message.at("assignments")) {
    Assignment assignment{.trial = one.at("trial"),
                          .point = one.at("point"),
                          .replica = one.at("replica"),
                          .attempt = one.at("attempt"),
                          .until = one.at("until")};
    for (const nlohmann::json& setting : one.at("settings")) {
      assignment.settings.push_back({setting.at(0), setting.at(1)});
    }
    claim.assignments.push_back(std::move(assignment));
  }
  return claim;
}

}  // namespace

TrialFeed::TrialFeed(Store* store, comm::Communicator& ranks, const WorkOptions& options)
    : store_(store), ranks_(ranks), options_(options) {
  if (store_ != nullptr) {
    own_.emplace(store_->paths().workers());
  }
}

Claim TrialFeed::claim(std::size_t active, std::size_t width) {
  if (ranks_.size() == 1) {
    if (!refusal_.empty() && active == 0) {
      fail_together(Fault::kUsage, "{}", refusal_);
    }
    return claim_here(active, width, stop_requested());
  }
  // A signal may come to one rank alone.
  const bool stop = std::ranges::max(comm::gather_numbers(ranks_, stop_requested() ? 1 : 0)) > 0;
  nlohmann::json message;
  if (speaks()) {
    message = !refusal_.empty() && active == 0 ? nlohmann::json{{"refusal", refusal_}}
                                               : to_json(claim_here(active, width, stop));
  }
  message = nlohmann::json::parse(comm::broadcast_text(ranks_, message.dump(), 0));
  if (message.contains("refusal")) {
    fail_together(Fault::kUsage, "{}", message.at("refusal").get<std::string>());
  }
  return parse_claim(message);
}

Claim TrialFeed::claim_here(std::size_t active, std::size_t width, bool stop) {
  Claim claim;
  const double now = steady_seconds();
  const bool asks = active < width && refusal_.empty() && !stop && (active == 0 || now - asked_ > kLook);
  if (asks) {
    claim.assignments = store_->claim(own_->name(), width - active);
    asked_ = claim.assignments.size() < width - active ? now : -1e9;
  }
  if (active == 0 && claim.assignments.empty()) {
    if (store_->scheduler().finished()) {
      claim.end = WorkEnd::kFinished;
    } else if (stop) {
      claim.end = WorkEnd::kAsked;
    }
  }
  return claim;
}

// What a trial came to must not be lost to a disk that is full for a while. Its checkpoint is there in any case.
void TrialFeed::append(const Event& event) {
  if (!speaks()) {
    return;
  }
  const auto begin = std::chrono::steady_clock::now();
  bool told = false;
  while (true) {
    try {
      store_->append({event});
      break;
    } catch (const Error& error) {
      if (error.fault() != Fault::kIo || stop_requested() || std::chrono::steady_clock::now() - begin > kDiskPatience) {
        throw;
      }
      if (!told) {
        log::warn("{}; waiting", error.what());
        told = true;
      }
      pause();
    }
  }
  asked_ = -1e9;  // what it came to may have made others ready
  if (options_.on_change) {
    options_.on_change();
  }
}

void TrialFeed::check_inputs(const std::string& name, const Point& fingerprint) {
  try {
    store_->check_inputs(name, fingerprint);
  } catch (const Error& error) {
    refusal_ = error.what();
    throw;
  }
}

bool TrialFeed::asked_to_stop(std::int64_t trial) {
  if (!speaks()) {
    return false;
  }
  const double now = steady_seconds();
  if (now - looked_ > kLook) {
    looked_ = now;
    store_->look();
  }
  return store_->scheduler().asked_to_stop(trial);
}

const TrialRecord* TrialFeed::find(std::int64_t trial) const {
  return speaks() ? store_->scheduler().find(trial) : nullptr;
}

void TrialFeed::pause() const {
  if (options_.heartbeat != nullptr) {
    options_.heartbeat->enter(Heartbeat::Phase::kIo, "waiting for other workers");
  }
  if (speaks()) {
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace dormer::sweep
