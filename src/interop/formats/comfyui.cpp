#include "kohya_read.hpp"
#include "kohya_write.hpp"

namespace dormer::interop::formats {

AdapterFormat comfyui() {
  return {.doc = "One file of dotted names (diffusion_model.…, text_encoders.…) that ComfyUI reads for every model.",
          .file_name = "{}.safetensors",
          .recognizes =
              [](const std::filesystem::path& source) { return recognizes_kohya(source, KohyaSpelling::kDotted); },
          .read = [](const std::filesystem::path& source,
                     const ReadOptions& options) { return read_kohya(source, options, KohyaSpelling::kDotted); },
          .write = [](const StoredAdapter& adapter, const std::filesystem::path& target,
                      const WriteRequest& request) { write_kohya(adapter, target, request, KohyaSpelling::kDotted); },
          .check = [](const StoredAdapter& adapter) { require_kohya_names(adapter, KohyaSpelling::kDotted); }};
}

}  // namespace dormer::interop::formats
