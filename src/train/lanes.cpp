#include "train/lanes.hpp"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "dormer/comm/gather.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/tensor/memory.hpp"
#include "train/agreement.hpp"
#include "train/packed_update.hpp"

namespace dormer::train {
namespace {

// What `dormer plan` is measured by.
void tell_memory(comm::Communicator& communicator) {
  const std::vector<std::string> ranks =
      comm::gather_texts(communicator, fmt::format("{} bytes of tensors at most, {} bytes resident at most",
                                                   tensor::memory_use().peak, tensor::peak_resident_bytes()));
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    log::info("memory of rank {}: {}", rank, ranks[rank]);
  }
}

/// Adds the seconds of its scope.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds), begin_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point begin_;
};

/// A lane whose update is under way.
struct Waiting {
  Lane* lane;
  PackMember member;
};

/// Takes those that fit the first one out of `waiting`, in order.
std::vector<Waiting> take_group(std::vector<Waiting>& waiting) {
  std::vector<Waiting> group;
  std::vector<Waiting> others;
  const PackMember first = waiting.front().member;
  for (const Waiting& one : waiting) {
    const bool fits = one.lane == waiting.front().lane || fit_together(first, one.member);
    (fits ? group : others).push_back(one);
  }
  waiting.swap(others);
  return group;
}

}  // namespace

Lane::Lane(RunConfig config, comm::Communicator& communicator, TrainOptions options, std::size_t number)
    : config_(std::move(config)), communicator_(communicator), options_(std::move(options)), number_(number) {}

void Lane::attempt(const std::function<void()>& step) {
  const Stopwatch stopwatch(seconds_);
  try {
    step();
    return;
  } catch (const Error& error) {
    error_ = std::current_exception();
    agreed_ = dynamic_cast<const AgreedError*>(&error) != nullptr;
    if (report_) {
      report_->failed(error.exit_code(), error.what());
    }
  } catch (...) {
    error_ = std::current_exception();
  }
  if (loop_) {
    const std::optional<Failure> while_saving = caught([&] { loop_->settle(); });
    if (while_saving) {
      log::warn("{}", while_saving->message);
    }
  }
  release();
  if (!agreed_ && communicator_.size() > 1) {
    std::rethrow_exception(error_);  // the other ranks do not know: nothing here may go on
  }
}

void Lane::release() {
  loop_.reset();
  report_.reset();
  preparation_.reset();
}

void Lane::begin() {
  attempt([&] {
    preparation_ = std::make_unique<Preparation>(config_, communicator_, options_);
    result_ = preparation_->already_complete();
    if (result_) {
      return;
    }
    preparation_->load();
    report_ = std::make_unique<RunReport>(*preparation_, options_.bare);
    report_->begin();
    loop_ = std::make_unique<Loop>(*preparation_, options_, *report_, number_);
    loop_->begin();
  });
  if (result_) {
    release();
  }
}

std::optional<PackMember> Lane::begin_update() {
  std::optional<PackMember> member;
  attempt([&] { member.emplace(loop_->begin_update()); });
  return error_ ? std::nullopt : std::move(member);
}

void Lane::end_update(const MemberOutcome& outcome) {
  attempt([&] {
    if (outcome.error) {
      std::rethrow_exception(outcome.error);
    }
    loop_->end_update(outcome.report);
  });
}

void Lane::finish() {
  attempt([&] {
    TrainResult result = loop_->finish();
    preparation_->enter(Heartbeat::Phase::kIo, "ending");
    preparation_->faults.reach("end", preparation_->state.step);
    preparation_->close();
    report_->end(result.outcome);
    if (!options_.bare) {
      tell_memory(communicator_);
    }
    result_ = std::move(result);
  });
  release();  // its memory and its directory are free for whoever comes next
}

namespace {

using Lanes = std::vector<std::unique_ptr<Lane>>;

/// Ends the lanes that are done and drops those that have ended.
void let_go(Lanes& lanes, LaneFeed& feed) {
  Lanes going_on;
  for (std::unique_ptr<Lane>& lane : lanes) {
    if (!lane->ended() && !lane->active()) {
      lane->finish();
    }
    if (lane->ended()) {
      feed.ended(*lane);
    } else {
      going_on.push_back(std::move(lane));
    }
  }
  lanes.swap(going_on);
}

/// One update of all lanes that are on their way.
PackTurn update_lanes(const Lanes& lanes) {
  std::vector<Waiting> waiting;
  for (const std::unique_ptr<Lane>& lane : lanes) {
    const std::optional<PackMember> member = lane->active() ? lane->begin_update() : std::nullopt;
    if (member) {
      waiting.push_back({lane.get(), *member});
    }
  }
  PackTurn turn{.updated = waiting.size()};
  while (!waiting.empty()) {
    const std::vector<Waiting> group = take_group(waiting);
    std::vector<PackMember> members;
    for (const Waiting& one : group) {
      members.push_back(one.member);
    }
    double seconds = 0.0;
    const std::vector<MemberOutcome> outcomes = [&] {
      const Stopwatch stopwatch(seconds);
      return update_together(members);
    }();
    turn.seconds += seconds;
    for (std::size_t i = 0; i < group.size(); ++i) {
      turn.samples += group[i].lane->samples_per_update();
      group[i].lane->spend(seconds / static_cast<double>(group.size()));
      group[i].lane->end_update(outcomes[i]);
    }
  }
  return turn;
}

}  // namespace

void run_lanes(LaneFeed& feed) {
  Lanes lanes;
  PackTurn turn;
  while (true) {
    let_go(lanes, feed);
    turn.active = lanes.size();
    for (std::unique_ptr<Lane>& lane : feed.join(turn)) {
      lane->begin();
      lanes.push_back(std::move(lane));
    }
    if (lanes.empty()) {
      return;
    }
    turn = update_lanes(lanes);
  }
}

}  // namespace dormer::train
