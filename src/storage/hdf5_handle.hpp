#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <hdf5.h>

#include "dormer/core/dtype.hpp"
#include "dormer/core/error.hpp"

namespace dormer::storage {

/// While one lives, no other thread of this process is in HDF5, so that a child which this thread starts finds HDF5's
/// own lock free. Prepares HDF5 for this thread, too: no exit handler of its own (it crashes after a failed write), no
/// printing of errors, no filters from plug-ins. Make one before anything else of HDF5; one inside of another is cheap.
class Hdf5Use {
 public:
  Hdf5Use();
  Hdf5Use(const Hdf5Use&) = delete;
  Hdf5Use& operator=(const Hdf5Use&) = delete;
  ~Hdf5Use();
};

/// Owns one HDF5 identifier of any kind.
class Hdf5Handle {
 public:
  Hdf5Handle() = default;
  explicit Hdf5Handle(hid_t id) : id_(id) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~Hdf5Handle() {
    if (id_ >= 0) {
      const Hdf5Use use;
      H5Idec_ref(id_);
    }
  }
  [[nodiscard]] hid_t get() const { return id_; }
  [[nodiscard]] bool valid() const { return id_ >= 0; }
  /// Closes now; false if HDF5 reports an error.
  [[nodiscard]] bool close() {
    const Hdf5Use use;
    return H5Idec_ref(std::exchange(id_, H5I_INVALID_HID)) >= 0;
  }

 private:
  hid_t id_ = H5I_INVALID_HID;
};

/// The reason that HDF5 gives for its last failure, in one line.
[[nodiscard]] std::string hdf5_reason();

/// Throws `fault` with "cannot {action} {where}: {HDF5's reason}" if `status` is negative; returns it otherwise. Of
/// input faults it says that the file must be made again.
template <typename Status>
Status checked(Status status, Fault fault, std::string_view action, std::string_view where) {
  if (status < 0) {
    fail(fault, "cannot {} {}: {}{}", action, where, hdf5_reason(),
         fault == Fault::kInput ? "; the file is damaged, make it again" : "");
  }
  return status;
}

/// The type of `dtype` in our files (little-endian). Types that HDF5 does not have (bool, 8-bit floats) are stored as
/// uint8.
[[nodiscard]] Hdf5Handle stored_type(DType dtype);

}  // namespace dormer::storage
