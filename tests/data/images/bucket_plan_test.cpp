#include "dormer/data/bucket_plan.hpp"

#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::data {
namespace {

using Key = std::tuple<std::int64_t, std::int64_t>;

/// Buckets of awkward sizes, with two concepts in some.
std::vector<BucketItem> items() {
  std::vector<BucketItem> result;
  const auto add = [&](std::int64_t bucket, std::int64_t group, double repeats, int count) {
    result.insert(result.end(), static_cast<std::size_t>(count), {bucket, group, repeats});
  };
  add(4, 0, 3.0, 7);
  add(2, 0, 3.0, 1);
  add(2, 1, 1.0, 5);
  add(9, 1, 1.0, 1);
  add(4, 2, 2.0, 2);
  return result;
}

TEST(BucketPlan, EpochsDrawEveryItemAsOftenAsItRepeats) {
  const std::vector<BucketItem> samples = items();
  for (const std::int64_t global : {1, 2, 4, 8}) {
    const BucketPlan plan(samples, RandomKey{7}, {.global = global});
    // After as many epochs as an update has samples, every bucket's drawings are whole updates.
    const std::int64_t updates = plan.first_update(global);
    std::map<std::int64_t, std::map<std::int64_t, std::int64_t>> counts;  // epoch, item
    std::set<Key> drawn;
    for (std::int64_t update = 0; update < updates; ++update) {
      const BucketUpdate found = plan.update_at(update);
      EXPECT_EQ(std::ssize(found.draws), global);
      for (const Draw& draw : found.draws) {
        EXPECT_EQ(samples[static_cast<std::size_t>(draw.item)].bucket, found.bucket) << "an update is of one shape";
        EXPECT_TRUE(drawn.emplace(draw.item, draw.occurrence).second) << "no two drawings are alike";
        ++counts[draw.epoch][draw.item];
      }
    }
    EXPECT_EQ(std::ssize(counts), global);
    for (const auto& [epoch, of_items] : counts) {
      for (std::size_t item = 0; item < samples.size(); ++item) {
        EXPECT_EQ(static_cast<double>(of_items.at(static_cast<std::int64_t>(item))), samples[item].repeats);
      }
    }
    EXPECT_EQ(static_cast<double>(updates), plan.updates_per_epoch() * static_cast<double>(global));
  }
}

TEST(BucketPlan, AnUpdateBelongsToTheEpochInWhichItIsFull) {
  const BucketPlan plan(items(), RandomKey{7}, {.global = 4});
  for (std::int64_t epoch = 0; epoch < 9; ++epoch) {
    for (std::int64_t update = plan.first_update(epoch); update < plan.first_update(epoch + 1); ++update) {
      EXPECT_EQ(plan.epoch_of(update), epoch);
      std::int64_t last = 0;
      for (const Draw& draw : plan.update_at(update).draws) {
        last = std::max(last, draw.epoch);
      }
      EXPECT_EQ(last, epoch);
    }
  }
}

TEST(BucketPlan, DependsOnTheSeedAlone) {
  const BucketPlan plan(items(), RandomKey{7}, {.global = 2});
  const BucketPlan same(items(), RandomKey{7}, {.global = 2});
  const BucketPlan other(items(), RandomKey{8}, {.global = 2});
  bool differs = false;
  for (std::int64_t update = 40; update >= 0; --update) {  // in any order
    EXPECT_EQ(plan.update_at(update), same.update_at(update));
    differs = differs || plan.update_at(update) != other.update_at(update);
  }
  EXPECT_TRUE(differs);
}

std::vector<std::int64_t> order_of(const BucketPlan& plan, std::int64_t epoch, bool buckets) {
  std::vector<std::int64_t> order;
  for (std::int64_t update = plan.first_update(epoch); update < plan.first_update(epoch + 1); ++update) {
    const BucketUpdate found = plan.update_at(update);
    buckets ? order.push_back(found.bucket) : order.push_back(found.draws.front().item);
  }
  return order;
}

TEST(BucketPlan, EpochsDifferInSamplesAndInBuckets) {
  std::vector<BucketItem> samples(60, {0, 0, 1.0});
  samples.resize(120, {1, 0, 1.0});
  const BucketPlan plan(samples, RandomKey{7}, {.global = 2});
  for (const bool buckets : {false, true}) {
    EXPECT_NE(order_of(plan, 0, buckets), order_of(plan, 1, buckets));
  }
  const BucketPlan plain(samples, RandomKey{7}, {.global = 2, .shuffle = false});
  EXPECT_EQ(order_of(plain, 0, false), order_of(plain, 1, false));
  EXPECT_EQ(plain.update_at(1).draws, (std::vector<Draw>{{2, 0, 0}, {3, 0, 0}}));
}

TEST(BucketPlan, BrokenRepeatsAreMadeUpForInLaterEpochs) {
  const std::vector<BucketItem> samples(10, {0, 0, 0.25});
  const BucketPlan plan(samples, RandomKey{7}, {.global = 1});
  EXPECT_EQ(plan.first_update(1), 2);
  EXPECT_EQ(plan.first_update(2), 5);
  std::map<std::int64_t, int> counts;
  for (std::int64_t update = 0; update < plan.first_update(4); ++update) {
    ++counts[plan.update_at(update).draws[0].item];
  }
  EXPECT_EQ(counts.size(), 10U) << "four epochs are one pass";
}

TEST(BucketPlan, SmallBucketsFillTheirUpdateInSeveralEpochs) {
  std::vector<BucketItem> samples(8, {0, 0, 1.0});
  samples.push_back({1, 0, 1.0});
  const BucketPlan plan(samples, RandomKey{7}, {.global = 4});
  EXPECT_EQ(plan.first_update(3), 6);
  EXPECT_EQ(plan.first_update(4), 9);
  std::map<std::int64_t, int> updates;
  for (std::int64_t update = 0; update < plan.first_update(12); ++update) {
    ++updates[plan.update_at(update).bucket];
  }
  EXPECT_EQ(updates, (std::map<std::int64_t, int>{{0, 24}, {1, 3}}));
  EXPECT_EQ(plan.dropped_items(), 0);
}

TEST(BucketPlan, OrAreLeftOutAndCounted) {
  std::vector<BucketItem> samples(8, {0, 0, 1.0});
  samples.resize(11, {1, 0, 1.0});
  const BucketPlan plan(samples, RandomKey{7}, {.global = 4, .small_buckets = SmallBuckets::kDrop});
  EXPECT_EQ(plan.dropped_items(), 3);
  EXPECT_EQ(plan.updates_per_epoch(), 2.0);
  EXPECT_TRUE(plan.shares()[1].dropped);
  for (std::int64_t update = 0; update < 20; ++update) {
    EXPECT_EQ(plan.update_at(update).bucket, 0);
  }
  EXPECT_THROW(BucketPlan(samples, RandomKey{7}, {.global = 9, .small_buckets = SmallBuckets::kDrop}), Error);
}

TEST(BucketPlan, WhatIsRandomAboutASampleDoesNotHangOnTheBatch) {
  std::map<Key, std::uint64_t> keys;
  const BucketPlan small(items(), RandomKey{7}, {.global = 1});
  for (std::int64_t update = 0; update < small.first_update(4); ++update) {
    const Draw draw = small.update_at(update).draws[0];
    keys[{draw.item, draw.occurrence}] = draw.key(RandomKey{7}).value;
  }
  std::set<std::uint64_t> different;
  const BucketPlan large(items(), RandomKey{7}, {.global = 4});
  for (std::int64_t update = 0; update < large.first_update(4); ++update) {
    for (const Draw& draw : large.update_at(update).draws) {
      EXPECT_EQ(keys.at({draw.item, draw.occurrence}), draw.key(RandomKey{7}).value);
      EXPECT_TRUE(different.insert(draw.key(RandomKey{7}).value).second);
    }
  }
}

TEST(BucketPlan, RefusesWhatIsNoPlan) {
  EXPECT_THROW(BucketPlan({}, RandomKey{7}, {}), Error);
  const std::vector<BucketItem> samples{{0, 0, 1.0}, {0, 0, 2.0}};
  EXPECT_THROW(BucketPlan(samples, RandomKey{7}, {}), Error) << "two repeats in one group";
  for (const double repeats : {0.0, -1.0, std::nan("")}) {
    EXPECT_THROW(BucketPlan(std::vector<BucketItem>{{0, 0, repeats}}, RandomKey{7}, {}), Error);
  }
  EXPECT_THROW(BucketPlan(std::vector<BucketItem>{{0, 0, 1.0}}, RandomKey{7}, {.global = 0}), Error);
}

// This order is part of the promise that a run goes on after an upgrade: if it changes, resumed runs see other samples.
TEST(BucketPlan, IsTheSameInEveryRelease) {
  const BucketPlan plan(items(), RandomKey{7}, {.global = 2});
  std::vector<std::int64_t> found;
  for (const std::int64_t update : {0, 1, 2, 50}) {
    for (const Draw& draw : plan.update_at(update).draws) {
      found.push_back(draw.item);
    }
  }
  EXPECT_THAT(found, ::testing::ElementsAre(3, 0, 4, 15, 1, 4, 10, 7));
}

}  // namespace
}  // namespace dormer::data
