#include "storage/hdf5_handle.hpp"

#include <mutex>

namespace dormer::storage {
namespace {

// The innermost entry of the error stack is the cause; the others say on whose behalf it was called.
extern "C" herr_t dormer_keep_first_reason(unsigned position, const H5E_error2_t* error, void* reason) {
  if (position == 0 && error->desc != nullptr) {
    *static_cast<std::string*>(reason) = error->desc;
  }
  return 0;
}

// IEEE layout with fewer mantissa bits than HDF5's own types have. The fields must be set before the size shrinks.
Hdf5Handle small_float(std::size_t exponent_bits, std::size_t mantissa_bits, std::size_t bias) {
  Hdf5Handle type(H5Tcopy(H5T_IEEE_F32LE));
  const bool made = type.valid() &&
                    H5Tset_fields(type.get(), 15, mantissa_bits, exponent_bits, 0, mantissa_bits) >= 0 &&
                    H5Tset_size(type.get(), 2) >= 0 && H5Tset_ebias(type.get(), bias) >= 0;
  invariant(made, "HDF5 cannot make a two-byte float: {}", hdf5_reason());
  return type;
}

// Not a recursive mutex: that knows its owner by a number which a child process does not keep. The depth it keeps.
std::mutex g_in_hdf5;
thread_local int t_depth = 0;

}  // namespace

Hdf5Use::Hdf5Use() {
  if (t_depth++ > 0) {
    return;
  }
  g_in_hdf5.lock();
  static std::once_flag once;
  std::call_once(once, [] {
    H5dont_atexit();
    H5open();
    H5PLset_loading_state(0);
  });
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // the setting is per thread
}

Hdf5Use::~Hdf5Use() {
  if (--t_depth == 0) {
    g_in_hdf5.unlock();
  }
}

std::string hdf5_reason() {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, dormer_keep_first_reason, &reason);
  for (char& letter : reason) {
    letter = letter == '\n' ? ' ' : letter;
  }
  return reason.empty() ? "HDF5 gives no reason" : reason;
}

Hdf5Handle stored_type(DType dtype) {
  switch (dtype) {
    case DType::kBool:
    case DType::kF8E4M3:
    case DType::kF8E5M2:
    case DType::kU8:
      return Hdf5Handle(H5Tcopy(H5T_STD_U8LE));
    case DType::kI8:
      return Hdf5Handle(H5Tcopy(H5T_STD_I8LE));
    case DType::kU16:
      return Hdf5Handle(H5Tcopy(H5T_STD_U16LE));
    case DType::kI16:
      return Hdf5Handle(H5Tcopy(H5T_STD_I16LE));
    case DType::kU32:
      return Hdf5Handle(H5Tcopy(H5T_STD_U32LE));
    case DType::kI32:
      return Hdf5Handle(H5Tcopy(H5T_STD_I32LE));
    case DType::kU64:
      return Hdf5Handle(H5Tcopy(H5T_STD_U64LE));
    case DType::kI64:
      return Hdf5Handle(H5Tcopy(H5T_STD_I64LE));
    case DType::kF16:
      return small_float(5, 10, 15);
    case DType::kBF16:
      return small_float(8, 7, 127);
    case DType::kF32:
      return Hdf5Handle(H5Tcopy(H5T_IEEE_F32LE));
    case DType::kF64:
      return Hdf5Handle(H5Tcopy(H5T_IEEE_F64LE));
  }
  fail(Fault::kBug, "no HDF5 type for dtype {}", static_cast<int>(dtype));
}

}  // namespace dormer::storage
