#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dormer/config/visitor.hpp"
#include "dormer/core/random_key.hpp"

namespace dormer::data {

/// Which tags are left out of a caption. Kept, protected and trigger tags never are.
struct TagDropout {
  double rate = 0.0;
  std::string mode = "each";              ///< each | all | rising
  std::vector<std::string> protect = {};  ///< tags as they are written
  void describe(config::Visitor& visitor);
};

/// How the captions of an image become the text that one update sees.
struct CaptionRules {
  std::string choose = "random";  ///< random | first
  std::string separator = ",";    ///< empty: a caption is one tag
  bool shuffle = false;
  std::int64_t keep_first = 0;
  std::string keep_separator = {};  ///< empty: none
  TagDropout tag_dropout = {};
  double dropout = 0.0;
  std::string trigger = {};
  std::string prefix = {};
  std::string suffix = {};
  void describe(config::Visitor& visitor);
};

/// The text for one visit of one image: a pure function of its arguments, so that `key` alone, made of the run's seed,
/// the image and the visit, decides it, on whatever rank. Each rule draws from a stream of its own below `key`:
/// switching one on or off does not change what another draws. No captions are one empty caption. In this order:
///   1. caption dropout: everything is empty, trigger, prefix and suffix included;
///   2. one of the captions is chosen;
///   3. its tags: the first `keep_first`, or what stands before `keep_separator` (and after a second one), stay where
///      they are; of the others some are dropped and the rest is shuffled. Without shuffle, tag dropout and a separator
///      to take out, the text stays as it is written;
///   4. "[trigger]" is replaced by the trigger, which is put first where the text has it in no form;
///   5. prefix and suffix, a blank between.
[[nodiscard]] std::string caption_for(const CaptionRules& rules, std::span<const std::string> captions, RandomKey key);

}  // namespace dormer::data
