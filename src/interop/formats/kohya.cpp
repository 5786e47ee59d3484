#include "kohya_read.hpp"
#include "kohya_write.hpp"

namespace dormer::interop::formats {

AdapterFormat kohya() {
  return {
      .doc = "One file of flat names (lora_unet_…, lora_te1_…), as kohya's scripts and LyCORIS write it.",
      .file_name = "{}.safetensors",
      .recognizes = [](const std::filesystem::path& source) { return recognizes_kohya(source, KohyaSpelling::kFlat); },
      .read = [](const std::filesystem::path& source,
                 const ReadOptions& options) { return read_kohya(source, options, KohyaSpelling::kFlat); },
      .write = [](const StoredAdapter& adapter, const std::filesystem::path& target,
                  const WriteRequest& request) { write_kohya(adapter, target, request, KohyaSpelling::kFlat); },
      .check = [](const StoredAdapter& adapter) { require_kohya_names(adapter, KohyaSpelling::kFlat); }};
}

}  // namespace dormer::interop::formats
