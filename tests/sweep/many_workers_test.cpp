#include <chrono>
#include <map>
#include <random>
#include <set>

#include <gmock/gmock.h>

#include "dormer/sweep/journal.hpp"
#include "dormer/sweep/scheduler.hpp"
#include "dormer/tensor/memory.hpp"
#include "support/temp_directory.hpp"

namespace dormer::sweep {
namespace {

class PlainSampler final : public Sampler {
 public:
  [[nodiscard]] Point propose(std::int64_t number, std::span<const Observation>) const override {
    return {{"optimizer.learning_rate", fmt::format("{}e-6", number + 1)}};
  }
};

/// A thousand workers, of which one in a hundred dies with what it has, and a hundred thousand trials, by asha, through
/// the scheduler and a journal on the disk.
TEST(ManyWorkers, NoTrialIsLostOrDoubled) {
  constexpr std::int64_t kTrials = 100'000;
  constexpr int kWorkers = 1'000;
  const test::TempDirectory folder;
  const PlainSampler sampler;
  const std::unique_ptr<StoppingRule> rule = stopping_registry().get("rule", "asha")({.minimum_steps = 1, .factor = 4});
  Scheduler scheduler({.total_steps = 64, .max_lives = 1'000'000}, sampler, *rule);
  Journal journal(folder.path() / "journal.jsonl");
  const auto apply = [&](const Event& event) { scheduler.apply(event); };
  const auto append = [&](std::vector<Event> events) { journal.transact(apply, [&] { return events; }); };
  append({{.kind = EventKind::kBegun, .step = kTrials}});

  std::mt19937 random(4);
  std::map<int, Assignment> at_work;
  std::map<std::int64_t, std::int64_t> trained;  // updates of each trial whose results were heard
  std::int64_t decisions = 0;
  std::int64_t deaths = 0;
  const auto begin = std::chrono::steady_clock::now();
  while (!scheduler.finished()) {
    const int worker = static_cast<int>(random() % kWorkers);
    const std::string name = fmt::format("worker-{}", worker);
    const auto has = at_work.find(worker);
    if (has == at_work.end()) {
      std::vector<Assignment> claimed;
      journal.transact(apply, [&] {
        claimed = scheduler.next(1);
        std::vector<Event> events;
        for (const Assignment& one : claimed) {
          events.push_back({.kind = EventKind::kStarted,
                            .trial = one.trial,
                            .attempt = one.attempt,
                            .step = one.until,
                            .worker = name,
                            .settings = one.fresh ? std::optional(one.settings) : std::nullopt});
        }
        return events;
      });
      ++decisions;
      if (!claimed.empty()) {
        at_work.emplace(worker, claimed.front());
      }
      continue;
    }
    const Assignment one = has->second;
    at_work.erase(has);
    if (random() % 100 == 0) {
      append({{.kind = EventKind::kLost, .worker = name}});
      ++deaths;
      continue;
    }
    std::int64_t& done = trained[one.trial];
    ASSERT_LT(done, one.until) << "trial " << one.trial << " was given out twice";
    done = one.until;
    append({{.kind = EventKind::kMeasured,
             .trial = one.trial,
             .attempt = one.attempt,
             .step = one.until,
             .measurements = {{.step = one.until, .value = static_cast<double>((one.trial * 7919) % 100'003)}}}});
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

  std::map<TrialState, std::int64_t> states;
  for (const TrialRecord& trial : scheduler.trials()) {
    ++states[trial.state];
    EXPECT_EQ(trial.steps(), trained.at(trial.number));
  }
  EXPECT_EQ(states[TrialState::kComplete] + states[TrialState::kStopped], kTrials);
  EXPECT_GE(states[TrialState::kComplete], kTrials / 64);
  EXPECT_GT(deaths, 500);
  constexpr std::int64_t kMostBytes = 1'000'000'000;
#ifndef DORMER_SANITIZED  // which keeps what was freed
  EXPECT_LT(tensor::peak_resident_bytes(), kMostBytes);
#else
  static_cast<void>(kMostBytes);
#endif
  fmt::print("{} trials, {} workers, {} deaths: {} decisions in {:.1f} s, {:.0f} a second; {} MB resident\n", kTrials,
             kWorkers, deaths, decisions, seconds, static_cast<double>(decisions) / seconds,
             tensor::peak_resident_bytes() / 1'000'000);

  // Whoever reads the journal afterwards knows the same.
  Scheduler replayed({.total_steps = 64, .max_lives = 1'000'000}, sampler, *rule);
  Journal(folder.path() / "journal.jsonl").read([&](const Event& event) { replayed.apply(event); });
  EXPECT_TRUE(replayed.finished());
  const std::vector<TrialRecord> first = scheduler.trials();
  const std::vector<TrialRecord> second = replayed.trials();
  ASSERT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    ASSERT_EQ(first[i].state, second[i].state) << i;
    ASSERT_EQ(first[i].value(), second[i].value()) << i;
  }
}

}  // namespace
}  // namespace dormer::sweep
