// Every kind against its paper in fp64, over several updates. An update of fp32 numbers below 1 is rounded a few times
// at 2^-24 of its parts: a textbook's path is left by a few units of 2^-24 times the size of a parameter and of a step
// each update.
#include <algorithm>
#include <cmath>
#include <functional>

#include <gtest/gtest.h>

#include "optim/sliced_run.hpp"

namespace dormer::optim {
namespace {

using Numbers = std::vector<double>;
constexpr std::int64_t kUpdates = 12;

UpdateScalars scalars_of(std::int64_t step) {
  return {.step = step, .schedule_factor = 1.0 - 0.05 * static_cast<double>(step), .gradient_scale = 0.7};
}

/// A direction that stays, and noise.
std::vector<float> gradients_of(std::int64_t step) {
  std::vector<float> gradients = noise(static_cast<std::uint64_t>(50 + step), 5e-3);
  const std::vector<float> direction = noise(49, 1e-2);
  std::transform(gradients.begin(), gradients.end(), direction.begin(), gradients.begin(), std::plus<>());
  return gradients;
}

/// Calls with (index of an element, of its row, of its column) for what lies in a parameter.
void for_elements(const tensor::ParameterEntry& entry,
                  const std::function<void(std::size_t, std::size_t, std::size_t)>& body) {
  const auto columns =
      static_cast<std::size_t>(entry.shape.size() < 2 ? entry.count() : entry.count() / entry.shape[0]);
  for (std::size_t i = 0; i < static_cast<std::size_t>(entry.count()); ++i) {
    body(static_cast<std::size_t>(entry.offset) + i, i / columns, i % columns);
  }
}

double root_mean_square(const tensor::ParameterEntry& entry, const Numbers& values) {
  double sum = 0.0;
  for_elements(entry, [&](std::size_t i, std::size_t, std::size_t) { sum += values[i] * values[i]; });
  return std::sqrt(sum / static_cast<double>(entry.count()));
}

struct Group {
  double rate;
  double decay;
};

Group group_of(const tensor::ParameterEntry& entry, const OptimizerSettings& settings, const UpdateScalars& scalars) {
  const bool magnitude = entry.role == tensor::ParameterRole::kMagnitude;
  const GroupSettings& group = magnitude ? settings.magnitudes : settings.factors;
  return {group.learning_rate * scalars.schedule_factor, group.weight_decay};
}

/// A textbook's update of `values`, given gradients after clipping.
using Textbook = std::function<void(Numbers& values, const Numbers& gradients, const UpdateScalars& scalars)>;

void expect_textbook(const std::string& kind, const OptimizerSettings& settings, const Textbook& textbook,
                     double tolerance) {
  SlicedRun run(kind, settings, 1);
  Numbers expected(run.values.begin(), run.values.end());
  for (std::int64_t step = 0; step < kUpdates; ++step) {
    const std::vector<float> drawn = gradients_of(step);
    run.update(drawn, scalars_of(step));
    Numbers gradients(drawn.begin(), drawn.end());
    for (double& gradient : gradients) {
      gradient *= scalars_of(step).gradient_scale;
    }
    textbook(expected, gradients, scalars_of(step));
  }
  const std::vector<float> start = noise(1, 0.1);
  double moved = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(run.values[i], expected[i], tolerance) << "element " << i;
    moved = std::max(moved, std::abs(expected[i] - start[i]));
  }
  EXPECT_GT(moved, 1e3 * tolerance) << "else this shows little";
}

TEST(Lion, FollowsTheTextbook) {
  const OptimizerSettings settings = small_settings(1e-2);
  Numbers moments(kSmallSize, 0.0);
  const Textbook textbook = [&](Numbers& values, const Numbers& gradients, const UpdateScalars& scalars) {
    for (const tensor::ParameterEntry& entry : small_entries()) {
      const auto [rate, decay] = group_of(entry, settings, scalars);
      for_elements(entry, [&](std::size_t i, std::size_t, std::size_t) {
        const double mixture = 0.9 * moments[i] + 0.1 * gradients[i];
        const double sign = mixture > 0.0 ? 1.0 : (mixture < 0.0 ? -1.0 : 0.0);
        values[i] -= rate * (sign + decay * values[i]);
        moments[i] = 0.99 * moments[i] + 0.01 * gradients[i];
      });
    }
  };
  expect_textbook("lion", settings, textbook, 2e-6);  // no mixture of these is so small that rounding turns its sign
}

/// Means of squares by rows and columns; of a vector, everything.
struct Factors {
  Numbers rows;
  Numbers columns;
  Factors() : rows(kSmallSize, 0.0), columns(kSmallSize, 0.0) {}

  void add(const tensor::ParameterEntry& entry, const Numbers& squares, double keep) {
    Numbers row_means(rows.size(), 0.0);
    Numbers column_means(columns.size(), 0.0);
    const bool matrix = entry.shape.size() > 1;
    const double count_of_rows = matrix ? static_cast<double>(entry.shape[0]) : 1.0;
    for_elements(entry, [&](std::size_t i, std::size_t row, std::size_t column) {
      row_means[row] += squares[i] * count_of_rows / static_cast<double>(entry.count());
      column_means[column] += squares[i] / count_of_rows;
    });
    for (std::size_t i = 0; i < rows.size(); ++i) {
      rows[i] = keep * rows[i] + (1.0 - keep) * row_means[i];
      columns[i] = keep * columns[i] + (1.0 - keep) * column_means[i];
    }
  }

  [[nodiscard]] double estimate(const tensor::ParameterEntry& entry, std::size_t row, std::size_t column) const {
    if (entry.shape.size() < 2) {
      return columns[column];
    }
    double mean = 0.0;
    for (std::int64_t i = 0; i < entry.shape[0]; ++i) {
      mean += rows[static_cast<std::size_t>(i)] / static_cast<double>(entry.shape[0]);
    }
    return rows[row] * columns[column] / mean;
  }
};

void clip(const tensor::ParameterEntry& entry, Numbers& update, double threshold) {
  const double scale = 1.0 / std::max(1.0, root_mean_square(entry, update) / threshold);
  for_elements(entry, [&](std::size_t i, std::size_t, std::size_t) { update[i] *= scale; });
}

Numbers squares_of(const Numbers& values, double least) {
  Numbers squares(values.size());
  std::transform(values.begin(), values.end(), squares.begin(), [=](double value) { return value * value + least; });
  return squares;
}

Textbook adafactor_textbook(const OptimizerSettings& settings, std::vector<Factors>& factors) {
  return [&](Numbers& values, const Numbers& gradients, const UpdateScalars& scalars) {
    const double t = static_cast<double>(scalars.step + 1);
    for (std::size_t index = 0; index < factors.size(); ++index) {
      const tensor::ParameterEntry entry = small_entries()[index];
      const auto [rate, decay] = group_of(entry, settings, scalars);
      factors[index].add(entry, squares_of(gradients, 1e-30), 1.0 - std::pow(t, -0.8));
      Numbers update(values.size(), 0.0);
      for_elements(entry, [&](std::size_t i, std::size_t row, std::size_t column) {
        update[i] = gradients[i] / std::sqrt(factors[index].estimate(entry, row, column));
      });
      clip(entry, update, settings.adafactor.clip_threshold);
      const double bound =
          settings.adafactor.relative_step ? std::min(rate, scalars.schedule_factor / std::sqrt(t)) : rate;
      const double own =
          settings.adafactor.scale_parameter ? bound * std::max(1e-3, root_mean_square(entry, values)) : bound;
      for_elements(
          entry, [&](std::size_t i, std::size_t, std::size_t) { values[i] -= own * (update[i] + decay * values[i]); });
    }
  };
}

TEST(Adafactor, FollowsTheTextbookWithAndWithoutRelativeSteps) {
  for (const bool relative : {true, false}) {
    for (const bool scaled : {true, false}) {
      OptimizerSettings settings = small_settings(relative ? 0.5 : 1e-2);  // 0.5: 1 / sqrt(t) is smaller from t = 4 on
      settings.adafactor.relative_step = relative;
      settings.adafactor.scale_parameter = scaled;
      std::vector<Factors> factors(small_entries().size());
      // Steps of up to 0.5 times elements' shares of up to 4.
      expect_textbook("adafactor", settings, adafactor_textbook(settings, factors), relative && !scaled ? 3e-5 : 3e-6);
    }
  }
}

TEST(Came, FollowsTheTextbook) {
  OptimizerSettings settings = small_settings(1e-2);
  settings.came.confidence_beta = 0.98;
  std::vector<Factors> factors(small_entries().size());
  std::vector<Factors> instabilities(small_entries().size());
  Numbers first(kSmallSize, 0.0);
  const Textbook textbook = [&](Numbers& values, const Numbers& gradients, const UpdateScalars& scalars) {
    for (std::size_t index = 0; index < factors.size(); ++index) {
      const tensor::ParameterEntry entry = small_entries()[index];
      const auto [rate, decay] = group_of(entry, settings, scalars);
      factors[index].add(entry, squares_of(gradients, 1e-30), 0.99);
      Numbers update(values.size(), 0.0);
      for_elements(entry, [&](std::size_t i, std::size_t row, std::size_t column) {
        update[i] = gradients[i] / std::sqrt(factors[index].estimate(entry, row, column));
      });
      clip(entry, update, 1.0);
      Numbers missed(values.size(), 0.0);
      for_elements(entry, [&](std::size_t i, std::size_t, std::size_t) {
        first[i] = 0.9 * first[i] + 0.1 * update[i];
        missed[i] = update[i] - first[i];
      });
      instabilities[index].add(entry, squares_of(missed, 1e-16), 0.98);
      for_elements(entry, [&, rate = rate, decay = decay](std::size_t i, std::size_t row, std::size_t column) {
        const double doubt =
            entry.shape.size() < 2 ? 1.0 : std::sqrt(instabilities[index].estimate(entry, row, column));
        values[i] -= rate * (first[i] / doubt + decay * values[i]);
      });
    }
  };
  expect_textbook("came", settings, textbook, 3e-6);
}

/// The authors' algorithm, with one learning rate for the estimate.
struct ProdigyTextbook {
  explicit ProdigyTextbook(const OptimizerSettings& chosen)
      : settings(chosen), distance(chosen.prodigy.initial_distance), largest(distance) {}

  void operator()(Numbers& values, const Numbers& gradients, const UpdateScalars& scalars) {
    const ProdigySettings& own = settings.prodigy;
    anchors = anchors.empty() ? values : anchors;
    const double t = static_cast<double>(scalars.step + 1);
    const double correction = own.bias_correction ? std::sqrt(1.0 - std::pow(0.99, t)) / (1.0 - std::pow(0.9, t)) : 1.0;
    const double before = distance;
    const double step = before * settings.magnitudes.learning_rate * scalars.schedule_factor * correction;
    const double weight = before / own.initial_distance;
    double denominator = 0.0;
    numerator *= std::sqrt(0.99);
    for (std::size_t i = 0; i < values.size(); ++i) {
      numerator += weight * step * gradients[i] * (anchors[i] - values[i]);
      first[i] = 0.9 * first[i] + before * 0.1 * gradients[i];
      second[i] = 0.99 * second[i] + before * before * 0.01 * gradients[i] * gradients[i];
      sums[i] = std::sqrt(0.99) * sums[i] + weight * (own.safeguard_warmup ? before : step) * gradients[i];
      denominator += std::abs(sums[i]);
    }
    const double found = own.coefficient * numerator / denominator;
    distance = distance == own.initial_distance ? std::max(distance, found) : distance;
    largest = std::max(largest, found);
    distance = std::min(largest, distance * own.growth_rate.value_or(1e300));
    for (const tensor::ParameterEntry& entry : small_entries()) {
      const auto [rate, decay] = group_of(entry, settings, scalars);
      const double length = before * rate * correction;
      for_elements(entry, [&, decay = decay](std::size_t i, std::size_t, std::size_t) {
        values[i] -= length * decay * values[i];
        values[i] -= length * first[i] / (std::sqrt(second[i]) + distance * settings.epsilon);
      });
    }
  }

  OptimizerSettings settings;
  double distance;
  double largest;
  double numerator = 0.0;
  Numbers anchors{};
  Numbers first = Numbers(kSmallSize, 0.0);
  Numbers second = Numbers(kSmallSize, 0.0);
  Numbers sums = Numbers(kSmallSize, 0.0);
};

TEST(Prodigy, FollowsTheTextbook) {
  for (const bool option : {false, true}) {
    OptimizerSettings settings = small_settings(0.5);
    settings.prodigy.initial_distance = 1e-3;
    settings.prodigy.bias_correction = option;
    settings.prodigy.safeguard_warmup = option;
    settings.prodigy.growth_rate = option ? std::optional(1.5) : std::nullopt;
    settings.prodigy.coefficient = option ? 2.0 : 1.0;
    ProdigyTextbook textbook(settings);
    // d multiplies every step: its own relative rounding is a few 2^-24 an update.
    expect_textbook("prodigy", settings, std::ref(textbook), 2e-6);
    EXPECT_NE(textbook.distance, 1e-3) << "an estimate was made";
  }
}

TEST(ScheduleFreeAdamW, FollowsTheTextbookAtBothPoints) {
  const OptimizerSettings settings = small_settings(1e-2);
  Numbers bases;
  Numbers averages;
  Numbers second(kSmallSize, 0.0);
  double weights = 0.0;
  // The paper's form: z, x and y = (1 - beta1) z + beta1 x apart.
  const Textbook textbook = [&](Numbers& values, const Numbers& gradients, const UpdateScalars& scalars) {
    bases = bases.empty() ? values : bases;
    averages = averages.empty() ? values : averages;
    weights += 1.0;  // the schedule's largest factor is its first
    const double t = static_cast<double>(scalars.step + 1);
    for (const tensor::ParameterEntry& entry : small_entries()) {
      const auto [rate, decay] = group_of(entry, settings, scalars);
      for_elements(entry, [&, rate = rate, decay = decay](std::size_t i, std::size_t, std::size_t) {
        second[i] = 0.99 * second[i] + 0.01 * gradients[i] * gradients[i];
        const double root = std::sqrt(second[i] / (1.0 - std::pow(0.99, t))) + 1e-8;
        bases[i] -= rate * (gradients[i] / root + decay * values[i]);
        averages[i] += (bases[i] - averages[i]) / weights;
        values[i] = 0.1 * bases[i] + 0.9 * averages[i];
      });
    }
  };
  expect_textbook("schedule_free_adamw", settings, textbook, 2e-6);
  const auto optimizer = optimizer_registry().get("kind", "schedule_free_adamw")(
      {.settings = settings, .groups = plan_groups(small_entries(), kSmallSize, settings), .slice = {0, kSmallSize}});
  std::vector<float> values = noise(1, 0.1);
  optimizer->average(values);
  EXPECT_EQ(values, noise(1, 0.1)) << "before the first update they are one";
  for (std::int64_t step = 0; step < kUpdates; ++step) {
    optimizer->update(values, gradients_of(step), scalars_of(step));
  }
  optimizer->average(values);
  for (std::size_t i = 0; i < averages.size(); ++i) {
    ASSERT_NEAR(values[i], averages[i], 2e-6) << i;
  }
}

}  // namespace
}  // namespace dormer::optim
