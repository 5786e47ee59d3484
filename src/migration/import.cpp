#include "dormer/migration/import.hpp"

#include <algorithm>
#include <stdexcept>

#include "dormer/config/tree.hpp"
#include "dormer/core/error.hpp"
#include "dormer/train/run_config.hpp"
#include "migration/translation.hpp"

namespace dormer::migration {
namespace {

/// Comments must not end in the middle.
std::string comment(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return "#   " + text + "\n";
}

std::vector<std::string> mistakes_of(const std::string& yaml, const std::filesystem::path& file) {
  try {
    const config::Document document = config::Document::parse({.name = file.string(), .text = yaml});
    train::RunConfig config;
    std::vector<std::string> mistakes;
    for (const config::Mistake& mistake : train::read_run_config(document, config)) {
      mistakes.push_back(mistake.path.empty() ? mistake.text : mistake.path + ": " + mistake.text);
    }
    return mistakes;
  } catch (const Error& error) {  // larger than a configuration may be
    fail(Fault::kInput, "{}: makes no configuration: {}", file.string(), error.what());
  }
}

/// A file may hold anything where its program writes a number, a text or a list.
void translate(const Program& known, Translation& translation) {
  try {
    known.translate(translation);
    return;
  } catch (const Json::exception&) {   // another kind of value
  } catch (const std::logic_error&) {  // a text that is no number
  }
  fail(Fault::kInput, "{}: {}: holds what {} does not write there; put it right, or leave the setting out",
       translation.file().string(), translation.latest(), known.name);
}

}  // namespace

Import import_config(const std::string& program, const std::filesystem::path& file) {
  const Program known = program_registry().get("program", program);
  Json settings = read_foreign_file(file);
  require(settings.is_object(), Fault::kInput, "{}: a list; {} is wanted", file.string(), known.files);
  Translation translation(std::move(settings), file);
  translate(known, translation);
  Import import{.yaml = fmt::format("# From {} of {}.\n{}", file.filename().string(), known.name, translation.yaml()),
                .unmapped = translation.unmapped(),
                .mistakes = {}};
  import.mistakes = mistakes_of(import.yaml, file);
  if (!import.unmapped.empty()) {
    import.yaml += "\n# Not mapped:\n";
    for (const std::string& line : import.unmapped) {
      import.yaml += comment(line);
    }
  }
  if (!import.mistakes.empty()) {
    import.yaml += "\n# To be put right before it runs:\n";
    for (const std::string& line : import.mistakes) {
      import.yaml += comment(line);
    }
  }
  return import;
}

}  // namespace dormer::migration
