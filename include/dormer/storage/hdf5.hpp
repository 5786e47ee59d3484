#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "dormer/core/dtype.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer::storage {

using Hdf5Attribute = std::variant<std::string, std::int64_t, double>;
using Hdf5Attributes = std::map<std::string, Hdf5Attribute>;

/// The bytes of an HDF5 file that was built in memory.
class Hdf5Image {
 public:
  Hdf5Image(void* memory, std::size_t size) : memory_(static_cast<std::byte*>(memory)), size_(size) {}
  [[nodiscard]] std::span<const std::byte> bytes() const { return {memory_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t size_;
};

/// Builds an HDF5 file in memory, so that the disk is written by our own code and its errors are plain ones. Equal
/// calls give equal bytes. Any HDF5 from 1.10 on reads the result; bfloat16 is a two-byte float type of its own. Use
/// each object from one thread at a time.
class Hdf5Writer {
 public:
  static constexpr std::int64_t kAlignedFrom = std::int64_t{1} << 20;  ///< arrays of so many bytes begin at a page
  static constexpr std::int64_t kPage = 4'096;
  Hdf5Writer();
  ~Hdf5Writer();
  Hdf5Writer(Hdf5Writer&&) noexcept;
  Hdf5Writer& operator=(Hdf5Writer&&) noexcept;

  /// Adds an attribute to the file itself.
  void set_attribute(const std::string& name, const Hdf5Attribute& value);
  /// Adds an array; "/" in its name makes groups. Copies the bytes. The attribute "dtype" is added to `attributes`.
  void add_array(const NamedArray& array, const Hdf5Attributes& attributes = {});
  /// Ends the file. Nothing may be added afterwards.
  [[nodiscard]] Hdf5Image finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// One array of a file, by its path without the leading "/".
struct Hdf5Array {
  std::string name;
  DType dtype = DType::kU8;
  std::vector<std::int64_t> shape;
  [[nodiscard]] std::int64_t count() const;  ///< elements
};

/// Reads arrays of numbers, contiguous or chunked and compressed. Files that pull in other files (external links,
/// external or virtual data) or need a filter that this HDF5 lacks are refused. All mistakes of a file are input
/// faults. Use each object from one thread at a time.
class Hdf5Reader {
 public:
  /// `what` says in errors what the file was meant to be.
  [[nodiscard]] static Hdf5Reader open(const std::filesystem::path& path, std::string_view what);
  /// The same of a file that others made, which nothing vouches for: HDF5 1.10 believes what a damaged one says of its
  /// own structure, and reads beyond its memory. So a child process opens it first, with all that describes it, and is
  /// what ends.
  [[nodiscard]] static Hdf5Reader open_foreign(const std::filesystem::path& path, std::string_view what);
  ~Hdf5Reader();
  Hdf5Reader(Hdf5Reader&&) noexcept;
  Hdf5Reader& operator=(Hdf5Reader&&) noexcept;

  /// Arrays of numbers, sorted by name. Data sets of other types (strings, records) are not listed.
  [[nodiscard]] const std::vector<Hdf5Array>& arrays() const;
  /// Null if there is none of that name.
  [[nodiscard]] const Hdf5Array* find(std::string_view name) const;
  /// Reads the whole array, in the byte order of this machine. `into` has exactly its size.
  void read(const Hdf5Array& array, std::span<std::byte> into) const;
  /// Reads elements [begin, end) of a 1-D array. Costs what the range costs, not what the array does.
  void read_range(const Hdf5Array& array, std::int64_t begin, std::int64_t end, std::span<std::byte> into) const;

  /// Attributes of the file, or of an array if one is named. Nothing if there is none of that name; an input error if
  /// it is of another type. Strings may be of fixed or variable length.
  [[nodiscard]] std::optional<std::string> string_attribute(const std::string& name,
                                                            const std::string& array = "") const;
  [[nodiscard]] std::optional<std::int64_t> integer_attribute(const std::string& name,
                                                              const std::string& array = "") const;
  [[nodiscard]] std::optional<double> real_attribute(const std::string& name, const std::string& array = "") const;

 private:
  Hdf5Reader();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dormer::storage
