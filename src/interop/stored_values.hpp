#pragma once

#include <cstddef>
#include <filesystem>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "dormer/core/dtype.hpp"
#include "dormer/interop/stored_adapter.hpp"
#include "dormer/storage/safetensors.hpp"

/// What readers and writers of adapter files share: arrays in fp32, and layers put together from them.
namespace dormer::interop {

/// Widened to fp32. A dtype of no trained number, an empty array, or values that are not finite are input faults that
/// name the array.
[[nodiscard]] StoredArray read_array(const storage::SafetensorsFile& file, const storage::TensorEntry& entry);
/// The one element of an array such as alpha, of any float or integer dtype.
[[nodiscard]] double read_number(const storage::SafetensorsFile& file, const storage::TensorEntry& entry);

/// Arrays that will be written, with their bytes.
class ArrayList {
 public:
  /// Rounds to `dtype` once; a dtype of no trained number is a usage error.
  void add(std::string name, const StoredArray& values, DType dtype);
  /// fp32, of no axis.
  void add_number(std::string name, double value);
  [[nodiscard]] const std::vector<storage::NamedArray>& arrays() const { return arrays_; }

 private:
  std::list<std::vector<std::byte>> bytes_;  // a list: growing leaves the others in their place
  std::vector<storage::NamedArray> arrays_;
};

/// Writes one file and reads it back: arrays byte for byte, and the metadata.
void write_arrays(const std::filesystem::path& path, const ArrayList& list, const storage::Metadata& metadata);

/// Whether `path` holds exactly these arrays, byte for byte.
[[nodiscard]] bool holds_exactly(const storage::SafetensorsFile& file, const std::vector<storage::NamedArray>& arrays);

/// Adds a factor under its canonical name in its canonical shape, whatever axes the file's spelling has. A second one
/// of the same name is an input fault.
void put_factor(StoredLayer& layer, const std::string& layer_name, const std::string& factor, StoredArray values);
/// Once all arrays of a layer are there: kind, rank, kernel axes and scale (alpha / rank; an alpha that is absent or 0
/// counts as the rank), and whether everything fits (input faults).
void finish_layer(StoredLayer& layer, const std::string& layer_name);
/// Axis and magnitude from a dora_scale [out, 1, …] or [1, channels, …]. A shape that tells neither is an input fault
/// unless `axis` is given.
void set_dora_scale(StoredLayer& layer, const std::string& layer_name, const StoredArray& values,
                    std::optional<adapter::Axis> axis = {});

/// "lora" where a convolution's low-rank change differs from it in the layer alone.
[[nodiscard]] std::string_view family_of_kind(std::string_view kind);
/// `adapter.bias` of a run that trains the stored biases. Pure.
[[nodiscard]] std::string_view bias_key(const StoredAdapter& stored);

[[nodiscard]] std::size_t kernel_axes(const StoredLayer& layer);
/// [out, 1, …] or [1, channels, …], with an axis of 1 for every one of the kernel. Pure, as the next.
[[nodiscard]] StoredArray dora_scale_of(const StoredLayer& layer, const std::string& layer_name);
/// lora_B [out, rank] with an axis of 1 for every one of the kernel.
[[nodiscard]] StoredArray up_of(const StoredLayer& layer);

/// The axis that a dora_scale's shape tells: [n, 1, …] or [1, n, 1, …] with n above 1. Pure.
[[nodiscard]] std::optional<adapter::Axis> axis_of_shape(const std::vector<std::int64_t>& shape);
/// Every value times `scale`, rounded once.
[[nodiscard]] StoredArray scaled(StoredArray values, double scale);
/// [rows, columns] turned round.
[[nodiscard]] StoredArray transposed(const StoredArray& matrix);

}  // namespace dormer::interop
