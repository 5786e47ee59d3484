#pragma once

#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "dormer/config/tree.hpp"

namespace dormer::sweep {

/// Collects what is wrong with a sweep's file.
class Mistakes {
 public:
  void add(config::Place place, std::string path, std::string text) {
    found_.push_back({place, std::move(path), std::move(text)});
  }
  void add_all(std::vector<config::Mistake> more) {
    found_.insert(found_.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  [[nodiscard]] bool any() const { return !found_.empty(); }
  [[nodiscard]] const std::vector<config::Mistake>& all() const { return found_; }

 private:
  std::vector<config::Mistake> found_;
};

}  // namespace dormer::sweep
