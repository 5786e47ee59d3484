// Changes that keep the form of a file: values of a JSON text, tensors of a safetensors file.
#include <algorithm>
#include <array>
#include <cstring>

#include <nlohmann/json.hpp>

#include "fuzz/mutator.hpp"

namespace dormer::fuzz {
namespace {

using Json = nlohmann::ordered_json;

const std::string kDeep =
    "@deep@";  // stands in a value until it is text: the library would recurse over the real thing
constexpr std::size_t kDeepest = 200;

/// Whether the library can be trusted with it: its copies recurse.
bool is_shallow(const std::string& text) {
  std::size_t depth = 0;
  for (const char letter : text) {
    depth += letter == '[' || letter == '{' ? 1 : 0;
    depth -= (letter == ']' || letter == '}') && depth > 0 ? 1 : 0;
    if (depth > kDeepest) {
      return false;
    }
  }
  return true;
}

void collect(Json& value, std::vector<Json*>& nodes) {
  constexpr std::size_t kMost = 4'000;
  if (nodes.size() < kMost) {
    nodes.push_back(&value);
    if (value.is_structured()) {
      for (Json& child : value) {
        collect(child, nodes);
      }
    }
  }
}

Json any_value(Random& random, const std::vector<std::string>& words, const std::vector<Json*>& nodes) {
  static const std::array<Json, 20> kValues{Json(),
                                            true,
                                            false,
                                            0,
                                            -1,
                                            1,
                                            2,
                                            16,
                                            0.5,
                                            1e308,
                                            -1e308,
                                            2147483648U,
                                            9007199254740993,
                                            INT64_MAX,
                                            INT64_MIN,
                                            UINT64_MAX,
                                            "",
                                            Json::array(),
                                            Json::object(),
                                            std::string(300, 'x')};
  switch (random.below(8)) {
    case 0:
      return kDeep;
    case 1:
      return random.of(words);
    case 2:
    case 3:
      return *random.of(nodes);
    case 4:
      return Json::array({kValues[random.below(kValues.size())], kValues[random.below(kValues.size())]});
    default:
      return kValues[random.below(kValues.size())];
  }
}

void change_object(Random& random, Json& object, const std::vector<std::string>& words, Json value) {
  if (object.empty() || random.one_in(3)) {
    object[random.of(words)] = std::move(value);
    return;
  }
  const auto member = std::next(object.begin(), static_cast<std::ptrdiff_t>(random.below(object.size())));
  const std::string key = member.key();
  if (random.one_in(3)) {  // under another name
    value = member.value();
    object.erase(key);
    object[random.one_in(2) ? random.of(words) : key + random.of(words)] = std::move(value);
  } else {
    object.erase(key);
  }
}

void grow_array(Random& random, Json& array, Json value) {
  const std::size_t times = random.one_in(10) ? 3'000 : random.below(4);
  if (times == 0 && !array.empty()) {
    array.erase(random.below(array.size()));
  }
  for (std::size_t time = 0; time < times; ++time) {
    array.push_back(value);
  }
}

/// Many members of one object: whoever looks through all for each of them takes long.
void widen(Random& random, Json& object) {
  for (std::size_t number = 0; number < 4'000; ++number) {
    object["k" + std::to_string(number)] = random.below(9);
  }
}

void change_node(Random& random, Json& node, const std::vector<std::string>& words, Json value) {
  if (node.is_object() && !random.one_in(4)) {
    if (random.one_in(60)) {
      widen(random, node);
    } else {
      change_object(random, node, words, std::move(value));
    }
  } else if (node.is_array() && !random.one_in(3)) {
    grow_array(random, node, std::move(value));
  } else {
    node = std::move(value);
  }
}

struct Tensor {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string data;
};

struct TensorFile {
  std::vector<Tensor> tensors;
  Json metadata;
};

/// Nothing where the file is no longer one.
bool parse(const std::string& file, TensorFile& parsed) {
  std::uint64_t length = 0;
  if (file.size() < 8) {
    return false;
  }
  std::memcpy(&length, file.data(), 8);
  if (length > file.size() - 8 || !is_shallow(file.substr(8, length))) {
    return false;
  }
  const Json header = Json::parse(file.substr(8, length), nullptr, false);
  if (!header.is_object()) {
    return false;
  }
  const std::string data = file.substr(8 + length);
  try {
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") {
        parsed.metadata = entry;
        continue;
      }
      const auto begin = entry.at("data_offsets").at(0).get<std::size_t>();
      const auto end = entry.at("data_offsets").at(1).get<std::size_t>();
      parsed.tensors.push_back({name, entry.at("dtype").get<std::string>(),
                                entry.at("shape").get<std::vector<std::int64_t>>(),
                                begin <= end && end <= data.size() ? data.substr(begin, end - begin) : ""});
    }
  } catch (const Json::exception&) {
    return false;
  }
  return !parsed.tensors.empty();
}

std::string serialize(const TensorFile& file) {
  Json header = Json::object();
  if (!file.metadata.is_null()) {
    header["__metadata__"] = file.metadata;
  }
  std::string data;
  for (const Tensor& tensor : file.tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.data.size()}}};
    data += tensor.data;
  }
  const std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  const std::uint64_t length = text.size();
  std::string result(8, '\0');
  std::memcpy(result.data(), &length, 8);
  return result + text + data;
}

/// As many bytes as shape and dtype need, where that is little.
void fit(Tensor& tensor) {
  std::size_t bytes = tensor.dtype.ends_with("64")   ? 8
                      : tensor.dtype.ends_with("16") ? 2
                      : tensor.dtype.ends_with("32") ? 4
                                                     : 1;
  for (const std::int64_t dimension : tensor.shape) {
    bytes *= static_cast<std::size_t>(dimension);
    if (bytes > (1 << 16)) {
      return;
    }
  }
  tensor.data.resize(bytes, '\x3C');
}

void rename(Random& random, TensorFile& file, Tensor& tensor, const std::vector<std::string>& words) {
  const std::string& word = random.of(words);
  const std::size_t dot = tensor.name.find('.', random.below(tensor.name.size()));
  switch (random.below(4)) {
    case 0:
      tensor.name = tensor.name.substr(0, dot) + word;
      break;
    case 1:
      tensor.name = word + tensor.name.substr(std::min(dot, tensor.name.size()));
      break;
    case 2:
      std::swap(tensor.name, file.tensors[random.below(file.tensors.size())].name);
      break;
    default:
      tensor.name += word;
      break;
  }
}

void reshape(Random& random, Tensor& tensor) {
  std::vector<std::int64_t>& shape = tensor.shape;
  switch (random.below(6)) {
    case 0:
      shape.clear();
      break;
    case 1:
      shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(random.below(shape.size() + 1)), 1);
      break;
    case 2:
      std::ranges::reverse(shape);
      break;
    case 3:
      if (shape.empty()) {
        shape.push_back(3);
      } else {
        shape.erase(shape.begin());
      }
      break;
    case 4:
      shape.resize(random.below(6), 2);
      break;
    default:
      if (!shape.empty()) {
        shape[random.below(shape.size())] = static_cast<std::int64_t>(random.below(9));
      }
      break;
  }
  fit(tensor);
}

void change_tensor(Random& random, TensorFile& file, const std::vector<std::string>& words) {
  static const std::vector<std::string> kTypes{"F32", "F16", "BF16", "F64",     "I64",
                                               "I32", "U8",  "BOOL", "F8_E4M3", "U16"};
  const std::size_t index = random.below(file.tensors.size());
  Tensor& tensor = file.tensors[index];
  switch (random.below(7)) {
    case 0:
    case 1:
      rename(random, file, tensor, words);
      break;
    case 2:
      reshape(random, tensor);
      break;
    case 3:
      tensor.dtype = random.of(kTypes);
      fit(tensor);
      break;
    case 4:
      file.tensors.erase(file.tensors.begin() + static_cast<std::ptrdiff_t>(index));
      break;
    case 5: {
      Tensor copy = tensor;
      rename(random, file, copy, words);
      file.tensors.push_back(std::move(copy));
      break;
    }
    default:
      std::ranges::fill(tensor.data, random.one_in(2) ? '\0' : '\xFF');
      break;
  }
}

}  // namespace

void mutate_json(Random& random, std::string& text, const std::vector<std::string>& words) {
  Json root = is_shallow(text) ? Json::parse(text, nullptr, false) : Json(Json::value_t::discarded);
  if (root.is_discarded()) {
    mutate_bytes(random, text, words, text);
    return;
  }
  std::vector<Json*> nodes;
  collect(root, nodes);
  Json value = any_value(random, words, nodes);
  change_node(random, *random.of(nodes), words, std::move(value));
  text = root.dump(-1, ' ', false, Json::error_handler_t::replace);
  const std::string mark = "\"" + kDeep + "\"";
  for (std::size_t place = text.find(mark); place != std::string::npos; place = text.find(mark, place)) {
    const std::string deep = random.one_in(2) ? nested(random, "[", "]") : nested(random, "{\"a\":[", "]}");
    text.replace(place, mark.size(), text.size() > kLargestInput ? "0" : deep);
  }
}

void mutate_tensors(Random& random, std::string& file, const std::vector<std::string>& words) {
  TensorFile parsed;
  if (!parse(file, parsed)) {
    mutate_bytes(random, file, words, file);
    return;
  }
  if (random.one_in(6)) {  // what the metadata says; texts of JSON among them
    Json& metadata = parsed.metadata;
    if (!metadata.is_object()) {
      metadata = Json::object();
    }
    const std::string key = metadata.empty() || random.one_in(3) ? random.of(words) : metadata.begin().key();
    std::string value = metadata.contains(key) && metadata[key].is_string() ? metadata[key].get<std::string>() : "{}";
    mutate_json(random, value, words);
    metadata[key] = value;
  } else {
    change_tensor(random, parsed, words);
  }
  file = serialize(parsed);
}

}  // namespace dormer::fuzz
