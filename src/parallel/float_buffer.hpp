#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>

namespace dormer::parallel {

/// Floats that begin at a multiple of 64 bytes, as LibTorch and vector loads like it. Not initialized.
class FloatBuffer {
 public:
  static constexpr std::align_val_t kAlignment{64};

  explicit FloatBuffer(std::int64_t count)
      : data_(static_cast<float*>(::operator new(static_cast<std::size_t>(count) * sizeof(float), kAlignment))),
        count_(static_cast<std::size_t>(count)) {}

  [[nodiscard]] std::span<float> values() const { return {data_.get(), count_}; }
  void set_to_zero() const {
    if (count_ > 0) {
      std::memset(data_.get(), 0, count_ * sizeof(float));
    }
  }

 private:
  struct Free {
    void operator()(float* data) const { ::operator delete(data, kAlignment); }
  };
  std::unique_ptr<float, Free> data_;
  std::size_t count_;
};

}  // namespace dormer::parallel
