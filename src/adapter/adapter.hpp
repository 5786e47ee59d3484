#pragma once

#include <memory>
#include <optional>

#include "decomposition.hpp"
#include "dormer/adapter/change.hpp"

namespace dormer::adapter {

/// One site's change with its optional decomposition.
class Adapter {
 public:
  Adapter(std::unique_ptr<Change> change, std::unique_ptr<Decomposition> decomposition)
      : change_(std::move(change)), decomposition_(std::move(decomposition)) {}
  [[nodiscard]] Change& change() { return *change_; }
  [[nodiscard]] const Change& change() const { return *change_; }
  [[nodiscard]] Decomposition* decomposition() { return decomposition_.get(); }
  [[nodiscard]] const Decomposition* decomposition() const { return decomposition_.get(); }

 private:
  std::unique_ptr<Change> change_;
  std::unique_ptr<Decomposition> decomposition_;  // null: the plain kind
};

}  // namespace dormer::adapter
