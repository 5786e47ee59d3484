#include "dormer/train/shared_bases.hpp"

namespace dormer::train {
namespace {

template <typename Shared>
Shared find_or_load(std::map<std::string, Shared>& kept, const std::string& key, const std::function<Shared()>& load) {
  if (const auto found = kept.find(key); found != kept.end()) {
    return found->second;
  }
  std::erase_if(kept, [](const auto& entry) { return entry.second.use_count() == 1; });
  Shared loaded = load();
  kept.emplace(key, loaded);
  return loaded;
}

}  // namespace

SharedBases::Model SharedBases::model(const std::string& key, const std::function<Model()>& load) {
  return find_or_load(models_, key, load);
}

SharedBases::Images SharedBases::images(const std::string& key, const std::function<Images()>& load) {
  return find_or_load(images_, key, load);
}

SharedBases::Tokens SharedBases::tokens(const std::string& key, const std::function<Tokens()>& load) {
  return find_or_load(tokens_, key, load);
}

}  // namespace dormer::train
