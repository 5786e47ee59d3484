#include "storage/strict_json.hpp"

#include <set>
#include <vector>

#include "dormer/core/error.hpp"
#include "storage/shown_name.hpp"

namespace dormer::storage {

using Json = nlohmann::json;

Json parse_strict_json(const std::string& text, std::string_view where) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    require(depth < 64, Fault::kInput, "{}: it nests too deep; make or download it again", where);
    if (event == Json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const auto& name = value.get_ref<const std::string&>();
      require(keys.back().insert(name).second, Fault::kInput, "{}: '{}' stands twice; make or download it again", where,
              shown(name));
    }
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const Json::exception&) {
    fail(Fault::kInput, "{}: it is not JSON; make or download it again", where);
  }
}

}  // namespace dormer::storage
