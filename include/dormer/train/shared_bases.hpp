#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace dormer::model {
class LanguageModel;
class ImageModel;
}  // namespace dormer::model
namespace dormer::data {
class TokenDataset;
}

namespace dormer::train {

/// Frozen models and data sets that several runs of one process use, each loaded once (TrainOptions::bases). What no
/// run uses any more is let go when something else is loaded. One thread.
class SharedBases {
 public:
  using Model = std::shared_ptr<const model::LanguageModel>;
  using Images = std::shared_ptr<const model::ImageModel>;
  using Tokens = std::shared_ptr<const data::TokenDataset>;
  /// What is kept under `key`, which says everything that it depends on; loaded by `load` where there is nothing.
  [[nodiscard]] Model model(const std::string& key, const std::function<Model()>& load);
  [[nodiscard]] Images images(const std::string& key, const std::function<Images()>& load);
  [[nodiscard]] Tokens tokens(const std::string& key, const std::function<Tokens()>& load);

 private:
  std::map<std::string, Model> models_;
  std::map<std::string, Images> images_;
  std::map<std::string, Tokens> tokens_;
};

}  // namespace dormer::train
