#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dormer::report {

/// A key that differs among the trials of a sweep.
struct SweepParameter {
  std::string path;
  bool log = false;     ///< its values lie on a line of their logarithm
  bool choice = false;  ///< its values are texts that lie on no line
};

/// A value of the metric after `step` updates.
struct SweepValue {
  std::int64_t step = 0;
  double value = 0.0;
};

/// A page holds at most so many pictures, the best trials' first.
inline constexpr std::size_t kMostPictures = 48;

/// A picture that a trial made: the bytes of a file and their type ("image/png").
struct SampleImage {
  std::string caption;
  std::string type;
  std::string bytes;
};

enum class Outcome : std::uint8_t { kComplete, kGoingOn, kStopped, kFailed };

struct SweepTrial {
  std::int64_t number = 0;
  std::int64_t point = 0;
  std::int64_t replica = 0;
  Outcome outcome = Outcome::kGoingOn;
  std::string state;                                 ///< in a word
  std::string reason;                                ///< of a failure or stop, one line
  std::string worker;                                ///< empty: none
  std::vector<std::optional<std::string>> settings;  ///< one a parameter; nothing: the trial does not have it
  std::vector<SweepValue> values;                    ///< steps ascending
  double seconds = 0.0;                              ///< of training
  std::string command;                               ///< that repeats it; empty: unknown
  std::vector<SampleImage> images;
};

/// A row of the leaderboard.
struct SweepStanding {
  std::int64_t place = 0;
  std::int64_t point = 0;
  Outcome outcome = Outcome::kGoingOn;
  std::string state;
  std::optional<double> mean;
  std::optional<double> half_width;  ///< of the 95% interval; nothing with one seed
  std::string seeds;                 ///< "2 of 3"
  std::int64_t step = 0;             ///< at which the mean is
  double seconds = 0.0;
  std::vector<std::optional<std::string>> settings;  ///< one a parameter
};

struct SweepImportance {
  std::string path;
  double share = 0.0;
  std::int64_t points = 0;  ///< that have the parameter
};

/// What became of the trials that reached so many updates and not the next rung's.
struct SweepRung {
  std::int64_t step = 0;
  std::int64_t passed = 0;  ///< reached the next rung as well, or completed
  std::int64_t stopped = 0;
  std::int64_t failed = 0;
  std::int64_t going_on = 0;
};

/// Value against one cost.
struct SweepFront {
  std::string cost;  ///< "training seconds"
  struct Offer {
    std::int64_t point = 0;
    double value = 0.0;
    double cost = 0.0;
    bool on_front = false;
  };
  std::vector<Offer> offers;
};

/// A worker had a trial from `begin` to `end`, in seconds since the sweep began.
struct WorkerSpan {
  std::string worker;
  std::int64_t trial = 0;
  double begin = 0.0;
  double end = 0.0;
};

/// A sweep as its page shows it: plain data, computed elsewhere.
struct SweepRecord {
  std::string name;
  std::string state;  ///< how the sweep stands, one line
  std::string metric;
  bool maximize = false;
  std::int64_t total_steps = 0;                             ///< updates of a whole trial; 0: unknown
  std::vector<std::pair<std::string, std::string>> facts;   ///< a name and what it is
  std::vector<std::pair<std::string, std::string>> config;  ///< what all trials have in common
  std::vector<SweepParameter> parameters;
  std::vector<SweepTrial> trials;        ///< by number
  std::vector<SweepStanding> standings;  ///< best first
  std::vector<SweepImportance> importances;
  std::vector<SweepRung> rungs;
  std::vector<SweepFront> fronts;
  std::vector<WorkerSpan> timeline;
};

/// A sweep as one HTML page: leaderboard, pictures of all trials, what repeats each of them. Everything is in the page,
/// nothing is fetched. The plots are drawn as still pictures, and again by `bundle` where that is not empty and scripts
/// run. Of long sweeps it shows a part and says so. Pure.
[[nodiscard]] std::string sweep_page(const SweepRecord& sweep, std::string_view bundle);

}  // namespace dormer::report
