#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "dormer/core/random_key.hpp"
#include "dormer/core/registry.hpp"
#include "dormer/sweep/point.hpp"
#include "dormer/sweep/space.hpp"

namespace dormer::sweep {

/// A point that was tried and what came out.
struct Observation {
  std::int64_t number = 0;
  Point point;
  std::optional<double> value;  ///< the mean over its seeds, the lower the better; nothing: it failed
  std::int64_t steps = 0;       ///< updates it was measured after: one that was stopped ranks behind those that went on
};

/// Chooses points. Immutable: what it proposes is a function of its seed, of the point's number and of what it is
/// shown, so a sweep that goes on after a crash proposes the same again.
class Sampler {
 public:
  virtual ~Sampler() = default;
  /// The point of this number (from 0). `seen` is what is known of earlier points, in their order; those that do not
  /// learn look at none of it.
  [[nodiscard]] virtual Point propose(std::int64_t number, std::span<const Observation> seen) const = 0;
  /// How many points there are at all; nothing: as many as one likes.
  [[nodiscard]] virtual std::optional<std::int64_t> points() const { return std::nullopt; }
  /// Whether it looks at `seen`.
  [[nodiscard]] virtual bool learns() const { return false; }
};

struct SamplerInputs {
  const Space& space;  ///< must outlive the sampler
  RandomKey seed;
};

using SamplerKind = std::function<std::unique_ptr<Sampler>(const SamplerInputs& inputs)>;

/// grid, random, quasi_random, tpe: one file each in src/sweep/samplers. Generated from the list in
/// src/sweep/CMakeLists.txt.
[[nodiscard]] Registry<SamplerKind> sampler_registry();

}  // namespace dormer::sweep
