#pragma once

#include <string>
#include <vector>

#include "dormer/storage/hdf5.hpp"
#include "storage/hdf5_handle.hpp"

namespace dormer::storage {

/// An open data set and the type in which it is read.
struct OpenArray {
  Hdf5Handle set;
  Hdf5Handle memory_type;
};

/// Paths of all data sets, without the leading "/". Refuses links into other files. `where` names the file in errors.
[[nodiscard]] std::vector<std::string> data_set_names(hid_t file, const std::string& where);

/// Opens a data set and describes it; nothing if its elements are no numbers that we know. Refuses what needs other
/// files or filters that are not here, and shapes that the file cannot hold.
[[nodiscard]] std::optional<std::pair<Hdf5Array, OpenArray>> open_array(hid_t file, const std::string& name,
                                                                        const std::string& where);

/// Opens every attribute of an object and looks at what it is, without reading it.
void look_at_attributes(hid_t object, const std::string& where);

/// Attributes of an open object; as in `Hdf5Reader`.
[[nodiscard]] std::optional<std::string> read_string(hid_t object, const std::string& name, const std::string& where);
[[nodiscard]] std::optional<std::int64_t> read_integer(hid_t object, const std::string& name, const std::string& where);
[[nodiscard]] std::optional<double> read_real(hid_t object, const std::string& name, const std::string& where);

}  // namespace dormer::storage
