#include "dormer/data/bucket_plan.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "dormer/core/error.hpp"
#include "dormer/data/sample_order.hpp"

namespace dormer::data {
namespace {

constexpr double kFewestRepeats = 1.0e-6;  // epochs stay countable

/// The first whole number n from 0 on for which `reached(n + 1)` is true; `reached` is false, then true.
template <typename Reached>
std::int64_t first_reaching(const Reached& reached) {
  std::int64_t above = 1;
  while (!reached(above)) {
    above *= 2;
  }
  std::int64_t below = 0;
  while (above - below > 1) {
    const std::int64_t middle = below + (above - below) / 2;
    (reached(middle) ? above : below) = middle;
  }
  return below;
}

void check(std::span<const BucketItem> items, const BucketPlanRules& rules) {
  require(!items.empty(), Fault::kUsage, "there are no samples to train on; see data.concepts");
  require(rules.global >= 1, Fault::kUsage, "batch.global is {}; an update takes at least one sample", rules.global);
  std::map<std::int64_t, double> repeats;
  for (const BucketItem& item : items) {
    require(std::isfinite(item.repeats) && item.repeats >= kFewestRepeats, Fault::kUsage,
            "repeats of {} are too few; write at least {}", item.repeats, kFewestRepeats);
    const auto [known, added] = repeats.emplace(item.group, item.repeats);
    require(added || known->second == item.repeats, Fault::kUsage, "group {} has repeats of {} and of {}", item.group,
            known->second, item.repeats);
  }
}

}  // namespace

BucketPlan::BucketPlan(std::span<const BucketItem> items, RandomKey seed, const BucketPlanRules& rules)
    : seed_(seed.child("bucket plan")), rules_(rules) {
  check(items, rules);
  std::map<std::int64_t, std::map<std::int64_t, Part>> sorted;
  for (std::size_t i = 0; i < items.size(); ++i) {
    Part& part = sorted[items[i].bucket].try_emplace(items[i].group).first->second;
    part.group = items[i].group;
    part.repeats = items[i].repeats;
    part.items.push_back(static_cast<std::int64_t>(i));
  }
  bool any = false;
  for (auto& [number, parts] : sorted) {
    Bucket bucket{.number = number, .parts = {}, .dropped = false};
    double draws = 0.0;
    for (auto& [group, part] : parts) {
      draws += part.repeats * static_cast<double>(part.items.size());
      bucket.parts.push_back(std::move(part));
    }
    bucket.dropped = rules.small_buckets == SmallBuckets::kDrop && draws < static_cast<double>(rules.global);
    any = any || !bucket.dropped;
    buckets_.push_back(std::move(bucket));
  }
  require(any, Fault::kUsage,
          "no bucket has the {} samples of an update in an epoch; make batch.global smaller, repeat the concepts, or "
          "let small buckets be carried on",
          rules.global);
}

std::int64_t BucketPlan::draws_before(const Part& part, std::int64_t epoch) {
  return static_cast<std::int64_t>(
      std::floor(part.repeats * static_cast<double>(part.items.size()) * static_cast<double>(epoch)));
}

std::int64_t BucketPlan::draws_before(const Bucket& bucket, std::int64_t epoch) {
  std::int64_t draws = 0;
  for (const Part& part : bucket.parts) {
    draws += draws_before(part, epoch);
  }
  return draws;
}

std::int64_t BucketPlan::updates_before(const Bucket& bucket, std::int64_t epoch) const {
  return bucket.dropped ? 0 : draws_before(bucket, epoch) / rules_.global;
}

std::int64_t BucketPlan::first_update(std::int64_t epoch) const {
  std::int64_t updates = 0;
  for (const Bucket& bucket : buckets_) {
    updates += updates_before(bucket, epoch);
  }
  return updates;
}

std::int64_t BucketPlan::epoch_of(std::int64_t update) const {
  return first_reaching([&](std::int64_t epoch) { return first_update(epoch) > update; });
}

BucketUpdate BucketPlan::update_at(std::int64_t update) const {
  invariant(update >= 0, "update {} lies before the run's first one", update);
  const std::int64_t epoch = epoch_of(update);
  const std::int64_t begin = first_update(epoch);
  const SampleOrder order(first_update(epoch + 1) - begin,
                          seed_.child("updates").child(static_cast<std::uint64_t>(epoch)), rules_.shuffle);
  std::int64_t place = order.sample_at(update - begin);  // in the epoch's updates, bucket after bucket
  for (const Bucket& bucket : buckets_) {
    const std::int64_t before = updates_before(bucket, epoch);
    const std::int64_t own = updates_before(bucket, epoch + 1) - before;
    if (place >= own) {
      place -= own;
      continue;
    }
    BucketUpdate result{.bucket = bucket.number, .draws = {}};
    for (std::int64_t i = 0; i < rules_.global; ++i) {
      result.draws.push_back(draw_at(bucket, (before + place) * rules_.global + i));
    }
    return result;
  }
  invariant(false, "update {} belongs to no bucket", update);
  return {};
}

Draw BucketPlan::draw_at(const Bucket& bucket, std::int64_t position) const {
  const std::int64_t epoch =
      first_reaching([&](std::int64_t candidate) { return draws_before(bucket, candidate) > position; });
  const std::int64_t begin = draws_before(bucket, epoch);
  const RandomKey key = seed_.child("bucket").child(static_cast<std::uint64_t>(bucket.number));
  const SampleOrder order(draws_before(bucket, epoch + 1) - begin, key.child(static_cast<std::uint64_t>(epoch)),
                          rules_.shuffle);
  std::int64_t place = order.sample_at(position - begin);  // in the epoch's drawings, part after part
  for (const Part& part : bucket.parts) {
    const std::int64_t before = draws_before(part, epoch);
    const std::int64_t own = draws_before(part, epoch + 1) - before;
    if (place >= own) {
      place -= own;
      continue;
    }
    const auto count = static_cast<std::int64_t>(part.items.size());
    const SampleOrder passes(count, key.child("group").child(static_cast<std::uint64_t>(part.group)), rules_.shuffle);
    const std::int64_t drawing = before + place;
    return {.item = part.items[static_cast<std::size_t>(passes.sample_at(drawing))],
            .occurrence = drawing / count,
            .epoch = epoch};
  }
  invariant(false, "drawing {} of bucket {} belongs to no concept", position, bucket.number);
  return {};
}

double BucketPlan::updates_per_epoch() const {
  double draws = 0.0;
  for (const BucketShare& share : shares()) {
    draws += share.dropped ? 0.0 : share.draws;
  }
  return draws / static_cast<double>(rules_.global);
}

std::vector<BucketShare> BucketPlan::shares() const {
  std::vector<BucketShare> result;
  for (const Bucket& bucket : buckets_) {
    BucketShare share{.bucket = bucket.number, .items = 0, .draws = 0.0, .dropped = bucket.dropped};
    for (const Part& part : bucket.parts) {
      share.items += static_cast<std::int64_t>(part.items.size());
      share.draws += part.repeats * static_cast<double>(part.items.size());
    }
    result.push_back(share);
  }
  return result;
}

std::int64_t BucketPlan::dropped_items() const {
  std::int64_t items = 0;
  for (const BucketShare& share : shares()) {
    items += share.dropped ? share.items : 0;
  }
  return items;
}

}  // namespace dormer::data
