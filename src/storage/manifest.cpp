#include "dormer/storage/manifest.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "dormer/core/error.hpp"
#include "dormer/storage/checksum.hpp"
#include "storage/shown_name.hpp"
#include "storage/strict_json.hpp"

namespace dormer::storage {
namespace {

using Json = nlohmann::json;

constexpr const char* kOwnSum = "manifest_xxh3_128";

// The text that the own sum is taken over: compact, keys sorted.
std::string sum_of(const Json& without_sum) {
  const std::string text = without_sum.dump();
  return xxh3_128(std::as_bytes(std::span(text)));
}

Json to_json(const Manifest& manifest) {
  Json root{
      {"format", Manifest::kFormat}, {"step", manifest.step}, {"files", Json::array()}, {"arrays", Json::array()}};
  for (const ManifestFile& file : manifest.files) {
    root["files"].push_back({{"name", file.name}, {"bytes", file.bytes}, {"xxh3_128", file.xxh3_128}});
  }
  for (const ManifestSlice& slice : manifest.arrays) {
    root["arrays"].push_back({{"name", slice.name},
                              {"dtype", safetensors_name(slice.dtype)},
                              {"shape", slice.shape},
                              {"offset", slice.offset},
                              {"count", slice.count},
                              {"file", slice.file},
                              {"xxh3_128", slice.xxh3_128}});
  }
  Json state = Json::parse(manifest.state, nullptr, false);
  invariant(state.is_object(), "the state of a checkpoint must be a JSON object, not {}", manifest.state.substr(0, 80));
  root["state"] = std::move(state);
  return root;
}

/// A whole number; the library would cut 0.5, and 1e300 to anything.
std::int64_t integer(const Json& json, std::string_view where) {
  require(json.is_number_integer(), Fault::kInput, "bad manifest {}: a number in it is not a whole one", where);
  return json.get<std::int64_t>();
}

ManifestFile file_from(const Json& json, std::string_view where) {
  return {.name = json.at("name").get<std::string>(),
          .bytes = static_cast<std::uint64_t>(integer(json.at("bytes"), where)),
          .xxh3_128 = json.at("xxh3_128").get<std::string>()};
}

ManifestSlice slice_from(const Json& json, std::string_view where) {
  const auto dtype_name = json.at("dtype").get<std::string>();
  const std::optional<DType> dtype = dtype_from_safetensors(dtype_name);
  require(dtype.has_value(), Fault::kInput, "bad manifest {}: unknown dtype '{}'", where, shown(dtype_name));
  std::vector<std::int64_t> shape;
  for (const Json& dimension : json.at("shape")) {
    shape.push_back(integer(dimension, where));
  }
  return {.name = json.at("name").get<std::string>(),
          .dtype = *dtype,
          .shape = std::move(shape),
          .offset = integer(json.at("offset"), where),
          .count = integer(json.at("count"), where),
          .file = json.at("file").get<std::string>(),
          .xxh3_128 = json.at("xxh3_128").get<std::string>()};
}

std::set<std::string> check_files(const Manifest& manifest, std::string_view where) {
  std::set<std::string> names;
  for (const ManifestFile& file : manifest.files) {
    const bool plain = !file.name.empty() && file.name.find('/') == std::string::npos && file.name.front() != '.' &&
                       file.name.find('\0') == std::string::npos;
    require(plain, Fault::kInput, "bad manifest {}: '{}' is not the name of a file beside it", where, shown(file.name));
    require(names.insert(file.name).second, Fault::kInput, "bad manifest {}: file '{}' stands twice", where, file.name);
  }
  return names;
}

std::int64_t element_count(const ManifestSlice& slice, std::string_view where) {
  std::int64_t count = 1;
  auto bytes = static_cast<std::int64_t>(size_of(slice.dtype));
  for (const std::int64_t dimension : slice.shape) {
    require(dimension >= 0 && !__builtin_mul_overflow(bytes, std::max<std::int64_t>(dimension, 1), &bytes),
            Fault::kInput, "bad manifest {}: array '{}' has an impossible shape", where, shown(slice.name));
    count *= dimension;
  }
  return count;
}

// Slices of one array, in order, must begin where the last one ended, and end where the array does.
void check_cover(const Manifest& manifest, std::string_view where) {
  std::map<std::string, std::vector<const ManifestSlice*>> by_name;
  for (const ManifestSlice& slice : manifest.arrays) {
    by_name[slice.name].push_back(&slice);
  }
  for (auto& [name, slices] : by_name) {
    std::ranges::sort(slices, {}, [](const ManifestSlice* slice) { return std::pair(slice->offset, slice->count); });
    const std::int64_t total = element_count(*slices.front(), where);
    std::int64_t covered = 0;
    for (const ManifestSlice* slice : slices) {
      require(slice->shape == slices.front()->shape && slice->dtype == slices.front()->dtype, Fault::kInput,
              "bad manifest {}: slices of '{}' disagree about its shape or dtype", where, shown(name));
      require(slice->offset == covered && slice->count >= 0 && slice->count <= total - covered, Fault::kInput,
              "bad manifest {}: slices of '{}' leave a hole or overlap at element {}", where, shown(name), covered);
      covered += slice->count;
    }
    require(covered == total, Fault::kInput, "bad manifest {}: '{}' has {} elements, but its slices hold {}", where,
            shown(name), total, covered);
  }
}

// Memory for arrays is taken before their files are read: no more than the files can hold.
void check_room(const Manifest& manifest, std::string_view where) {
  std::map<std::string_view, std::int64_t> needed;
  for (const ManifestSlice& slice : manifest.arrays) {
    const std::int64_t bytes =
        slice.count * static_cast<std::int64_t>(size_of(slice.dtype));  // below 2^63: its array is
    std::int64_t& total = needed[slice.file];
    total = __builtin_add_overflow(total, bytes, &total) ? std::numeric_limits<std::int64_t>::max() : total;
  }
  for (const ManifestFile& file : manifest.files) {
    const auto bytes = static_cast<std::uint64_t>(needed[file.name]);
    require(bytes <= file.bytes, Fault::kInput, "bad manifest {}: its arrays are larger than the files that hold them",
            where);
  }
}

}  // namespace

std::string to_text(const Manifest& manifest) {
  Json root = to_json(manifest);
  const std::string sum = sum_of(root);
  root[kOwnSum] = sum;
  return root.dump(1) + "\n";
}

Manifest parse_manifest(const std::string& text, std::string_view where) {
  Json root = parse_strict_json(text, fmt::format("bad manifest {}", where));
  Manifest manifest;
  try {
    require(root.at("format").get<std::string>() == Manifest::kFormat, Fault::kInput,
            "{} is of the format '{}', and this program reads '{}'; use the version that wrote it", where,
            shown(root.at("format").get<std::string>()), Manifest::kFormat);
    const auto sum = root.at(kOwnSum).get<std::string>();
    root.erase(kOwnSum);
    require(sum == sum_of(root), Fault::kInput, "bad manifest {}: its text does not match its own checksum", where);
    manifest.step = integer(root.at("step"), where);
    for (const Json& file : root.at("files")) {
      manifest.files.push_back(file_from(file, where));
    }
    for (const Json& slice : root.at("arrays")) {
      manifest.arrays.push_back(slice_from(slice, where));
    }
    require(root.at("state").is_object(), Fault::kInput, "bad manifest {}: its state is not an object", where);
    manifest.state = root.at("state").dump();
  } catch (const Json::exception&) {
    fail(Fault::kInput, "bad manifest {}: a field is missing or of the wrong type", where);
  }
  const std::set<std::string> names = check_files(manifest, where);
  for (const ManifestSlice& slice : manifest.arrays) {
    require(names.contains(slice.file), Fault::kInput, "bad manifest {}: '{}' lies in '{}', which is not listed", where,
            shown(slice.name), shown(slice.file));
  }
  check_cover(manifest, where);
  check_room(manifest, where);
  return manifest;
}

}  // namespace dormer::storage
