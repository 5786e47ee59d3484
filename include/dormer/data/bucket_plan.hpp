#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dormer/core/random_key.hpp"

namespace dormer::data {

/// One drawing of an item. No two drawings of a run are equal, so that what is random about a sample (its crop, flip,
/// caption, noise) hangs on this alone: not on ranks, nor on what else is drawn.
struct Draw {
  std::int64_t item = 0;
  std::int64_t occurrence = 0;  ///< how often the item was drawn before, in all epochs
  std::int64_t epoch = 0;
  bool operator==(const Draw&) const = default;

  /// The key of what is random about this drawing.
  [[nodiscard]] RandomKey key(RandomKey seed) const {
    return seed.child("sample").child(static_cast<std::uint64_t>(item)).child(static_cast<std::uint64_t>(occurrence));
  }
};

/// What an update learns from: `global` drawings of one bucket, so of one shape.
struct BucketUpdate {
  std::int64_t bucket = 0;
  std::vector<Draw> draws;
  bool operator==(const BucketUpdate&) const = default;
};

struct BucketItem {
  std::int64_t bucket = 0;
  std::int64_t group = 0;  ///< its concept
  double repeats = 1.0;  ///< drawings in an epoch; may be broken: 0.5 is every second epoch. The same for a whole group
};

/// What happens to a bucket that an epoch draws less often than an update needs.
enum class SmallBuckets {
  kCarry,  ///< it fills one update in several epochs
  kDrop,   ///< its items are left out, and counted
};

struct BucketPlanRules {
  std::int64_t global = 1;  ///< samples of an update
  bool shuffle = true;
  SmallBuckets small_buckets = SmallBuckets::kCarry;
};

/// How a bucket stands in a plan, for a person.
struct BucketShare {
  std::int64_t bucket = 0;
  std::int64_t items = 0;
  double draws = 0.0;  ///< of an epoch
  bool dropped = false;
};

/// Which drawings make up an update: a pure function of the update's number, with nothing remembered between calls.
///
/// In every epoch each group of a bucket is drawn items * repeats times (what is broken is made up for in later
/// epochs), passing through its items in a new order each time, and the bucket's drawings are shuffled. The bucket's
/// drawings, epoch after epoch, are cut into updates; those that begin in an epoch and are full by its end belong to
/// it, in an order that is shuffled over all buckets. What an epoch leaves over begins the bucket's next update: no
/// drawing is lost, and none is made up to fill an update.
class BucketPlan {
 public:
  /// Items keep their numbers (0, 1, …) in drawings. Usage errors: no items, a global batch below 1, repeats that
  /// differ within a group or are not positive and finite, every bucket dropped.
  BucketPlan(std::span<const BucketItem> items, RandomKey seed, const BucketPlanRules& rules);

  [[nodiscard]] BucketUpdate update_at(std::int64_t update) const;
  /// Updates of all epochs before this one; with the number of epochs: how many updates they take.
  [[nodiscard]] std::int64_t first_update(std::int64_t epoch) const;
  [[nodiscard]] std::int64_t epoch_of(std::int64_t update) const;
  /// On average; epochs may differ by one update a bucket.
  [[nodiscard]] double updates_per_epoch() const;
  /// In the order of buckets.
  [[nodiscard]] std::vector<BucketShare> shares() const;
  [[nodiscard]] std::int64_t dropped_items() const;

 private:
  /// Items of one group in one bucket.
  struct Part {
    std::int64_t group;
    double repeats;
    std::vector<std::int64_t> items;
  };
  struct Bucket {
    std::int64_t number;
    std::vector<Part> parts;
    bool dropped;
  };
  static std::int64_t draws_before(const Part& part, std::int64_t epoch);
  static std::int64_t draws_before(const Bucket& bucket, std::int64_t epoch);
  [[nodiscard]] std::int64_t updates_before(const Bucket& bucket, std::int64_t epoch) const;
  [[nodiscard]] Draw draw_at(const Bucket& bucket, std::int64_t position) const;

  std::vector<Bucket> buckets_;
  RandomKey seed_;
  BucketPlanRules rules_;
};

}  // namespace dormer::data
