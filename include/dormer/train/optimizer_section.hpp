#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dormer/config/values.hpp"
#include "dormer/config/visitor.hpp"

namespace dormer::train {

// The groups `optimizer` and `schedule` of a run's file; see run_config.hpp.

struct MagnitudeSection {
  std::optional<double> learning_rate;  ///< absent: the optimizer's
  double weight_decay = 0.0;
  void describe(config::Visitor& visitor);
};

struct AdafactorSection {
  bool relative_step = true;
  bool scale_parameter = true;
  double decay_exponent = 0.8;
  double clip_threshold = 1.0;
  void describe(config::Visitor& visitor);
  bool operator==(const AdafactorSection&) const = default;
};

struct CameSection {
  double confidence_beta = 0.9999;
  double clip_threshold = 1.0;
  void describe(config::Visitor& visitor);
  bool operator==(const CameSection&) const = default;
};

struct ProdigySection {
  double initial_distance = 1.0e-6;
  double coefficient = 1.0;
  std::optional<double> growth_rate;  ///< absent: any
  bool bias_correction = false;
  bool safeguard_warmup = false;
  void describe(config::Visitor& visitor);
  bool operator==(const ProdigySection&) const = default;
};

/// The exponential moving average of what is trained.
struct AverageSection {
  double decay = 0.999;
  std::int64_t every = 1;  ///< updates
  void describe(config::Visitor& visitor);
};

struct OptimizerSection {
  std::string kind = "adamw";
  double learning_rate = 2.0e-4;
  std::vector<double> betas{0.9, 0.999};
  double epsilon = 1.0e-8;
  double weight_decay = 0.0;
  std::optional<double> max_gradient_norm = 1.0;  ///< absent or 0: no clipping
  double loraplus_ratio = 1.0;                    ///< learning rate of B over that of A
  std::int64_t max_skipped = 0;                   ///< updates without a finite gradient before the run ends
  MagnitudeSection magnitude;
  AdafactorSection adafactor;  ///< of this kind alone, as the next two
  CameSection came;
  ProdigySection prodigy;
  std::optional<AverageSection> ema;  ///< absent: none
  void describe(config::Visitor& visitor);
};

struct ScheduleSection {
  std::string kind = "cosine";
  config::StepsOrShare warmup;
  std::int64_t cycles = 1;            ///< of cosine_restarts
  double power = 1.0;                 ///< of polynomial
  double minimum_factor = 0.0;        ///< what the factor falls towards, of every kind
  std::optional<std::string> extend;  ///< keep | stretch: what a resumed run with more steps does with the schedule
  void describe(config::Visitor& visitor);
};

}  // namespace dormer::train
