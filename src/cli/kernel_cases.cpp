#include "kernel_cases.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>

namespace dormer::cli {
namespace {

using kernels::BFloat16;
using kernels::Kernels;

template <typename Element>
at::ScalarType scalar_type() {
  if constexpr (std::is_same_v<Element, float>) {
    return at::kFloat;
  } else if constexpr (std::is_same_v<Element, BFloat16>) {
    return at::kBFloat16;
  } else if constexpr (std::is_same_v<Element, double>) {
    return at::kDouble;
  } else if constexpr (std::is_same_v<Element, std::int64_t>) {
    return at::kLong;
  } else {
    static_assert(std::is_same_v<Element, std::uint8_t>);
    return at::kByte;
  }
}

/// Arguments made on arrays, and how many items a call has: the call.
template <typename Make>
auto call_of(std::int64_t count, Make make) {
  return [count, make](DeviceArrays& arrays) -> std::function<void(const Kernels&)> {
    const auto arguments = make(arrays);
    return [arguments, count](const Kernels& kernels) { kernels.run(arguments, count); };
  };
}

/// The cases of one type of numbers. Values stay finite however often a case runs.
template <typename Element>
class ElementCases {
 public:
  explicit ElementCases(const KernelSizes& sizes) : sizes_(sizes), count_(sizes.rows * sizes.width) {}

  [[nodiscard]] std::vector<KernelCase> all() && {
    add_normalization();
    add_elementwise();
    add_columns();
    add_attention();
    add_loss();
    add_norms();
    return std::move(cases_);
  }

 private:
  static constexpr std::int64_t kSize = sizeof(Element);

  template <typename Make>
  void add(std::string name, std::int64_t bytes, std::int64_t items, Make make) {
    cases_.push_back({.name = std::move(name),
                      .numbers = kSize == 4 ? "float32" : "bfloat16",
                      .bytes = bytes,
                      .floats = 0,
                      .prepare = call_of(items, make)});
  }

  void add_normalization() {
    const std::int64_t width = sizes_.width;
    const std::int64_t rows = sizes_.rows;
    const std::int64_t count = count_;
    add("rms_norm", 2 * count * kSize + 4 * (rows + width), rows, [=](DeviceArrays& arrays) {
      return kernels::RmsNormArguments<Element>{arrays.ones<Element>(count),
                                                arrays.ones<float>(width),
                                                arrays.ones<Element>(count),
                                                arrays.ones<float>(rows),
                                                width,
                                                1e-5F};
    });
    add("rms_norm_backward", 3 * count * kSize + 4 * (rows + width), rows, [=](DeviceArrays& arrays) {
      return kernels::RmsNormBackwardArguments<Element>{arrays.ones<Element>(count), arrays.ones<float>(width),
                                                        arrays.ones<Element>(count), arrays.ones<float>(rows),
                                                        arrays.ones<Element>(count), width};
    });
    add("squared_row_sums", count * kSize + 4 * rows, rows, [=](DeviceArrays& arrays) {
      return kernels::SquaredRowSumsArguments<Element>{arrays.ones<Element>(count), arrays.ones<float>(rows), width};
    });
  }

  void add_elementwise() {
    const std::int64_t count = count_;
    for (const auto& [name, function] :
         {std::pair{"silu", kernels::GateFunction::kSilu}, std::pair{"gelu", kernels::GateFunction::kGeluTanh}}) {
      const kernels::GateFunction gate = function;
      add(std::string("gated_unit_") + name, 3 * count * kSize, count, [=](DeviceArrays& arrays) {
        return kernels::GatedUnitArguments<Element>{arrays.ones<Element>(count), arrays.ones<Element>(count),
                                                    arrays.ones<Element>(count), gate};
      });
      add(std::string("gated_unit_") + name + "_backward", 5 * count * kSize, count, [=](DeviceArrays& arrays) {
        return kernels::GatedUnitBackwardArguments<Element>{arrays.ones<Element>(count), arrays.ones<Element>(count),
                                                            arrays.ones<Element>(count), arrays.ones<Element>(count),
                                                            arrays.ones<Element>(count), gate};
      });
    }
    add("soft_cap", 2 * count * kSize, count, [=](DeviceArrays& arrays) {
      return kernels::SoftCapArguments<Element>{arrays.ones<Element>(count), 1.0F, 30.0F};
    });
    add("soft_cap_backward", 3 * count * kSize, count, [=](DeviceArrays& arrays) {
      return kernels::SoftCapBackwardArguments<Element>{arrays.ones<Element>(count), arrays.ones<Element>(count), 1.0F,
                                                        30.0F};
    });
    add("dropout", 2 * count * kSize, (count + 3) / 4, [=](DeviceArrays& arrays) {
      return kernels::DropoutArguments<Element>{arrays.ones<Element>(count), arrays.ones<Element>(count), count,
                                                kernels::dropout_mask(7, 0.1)};
    });
  }

  void add_columns() {
    const std::int64_t width = sizes_.width;
    const std::int64_t rows = sizes_.rows;
    const std::int64_t count = count_;
    add("scale_columns", 2 * count * kSize + 4 * width, rows, [=](DeviceArrays& arrays) {
      return kernels::ScaleColumnsArguments<Element>{arrays.ones<Element>(count), arrays.ones<float>(width), nullptr,
                                                     width};
    });
    add("scale_columns_backward", 3 * count * kSize + 8 * width, width, [=](DeviceArrays& arrays) {
      return kernels::ScaleColumnsBackwardArguments<Element>{
          arrays.ones<Element>(count), arrays.ones<Element>(count), nullptr, arrays.ones<float>(width),
          arrays.ones<Element>(count), arrays.ones<float>(width),   rows,    width};
    });
    add("scale_rows", 2 * count * kSize + 4 * rows, rows, [=](DeviceArrays& arrays) {
      return kernels::ScaleRowsArguments<Element>{arrays.ones<Element>(count), arrays.ones<float>(rows), nullptr, rows,
                                                  width};
    });
    add("scale_rows_backward", 3 * count * kSize + 8 * rows, rows, [=](DeviceArrays& arrays) {
      return kernels::ScaleRowsBackwardArguments<Element>{
          arrays.ones<Element>(count), arrays.ones<Element>(count), nullptr, arrays.ones<float>(rows),
          arrays.ones<Element>(count), arrays.ones<float>(rows),    rows,    width};
    });
  }

  void add_attention() {
    const std::int64_t keys = std::min<std::int64_t>(sizes_.rows, 1'024);
    const std::int64_t batch = std::max<std::int64_t>(1, count_ / (keys * keys));
    const std::int64_t scores = batch * keys * keys;
    const std::int64_t visible = batch * keys * (keys + 1) / 2;
    add("causal_softmax", (visible + scores) * kSize, batch * keys, [=](DeviceArrays& arrays) {
      return kernels::CausalSoftmaxArguments<Element>{arrays.ones<Element>(scores), keys, keys, 1, 0, 0.125F};
    });
    add("softmax_backward", 3 * scores * kSize, batch * keys, [=](DeviceArrays& arrays) {
      return kernels::SoftmaxBackwardArguments<Element>{arrays.ones<Element>(scores), arrays.ones<Element>(scores),
                                                        keys, 1.0F / static_cast<float>(keys)};
    });
    const std::int64_t head = std::min<std::int64_t>(sizes_.width, 64);
    const std::int64_t groups = sizes_.width / head;
    const std::int64_t samples = std::max<std::int64_t>(1, sizes_.rows / keys);
    const std::int64_t moved = samples * keys * groups * head;
    add("rotary", 2 * moved * kSize + 4 * keys * head, samples * keys, [=](DeviceArrays& arrays) {
      return kernels::RotaryArguments<Element>{arrays.ones<Element>(moved),
                                               arrays.ones<Element>(moved),
                                               arrays.ones<float>(keys * head / 2),
                                               arrays.ones<float>(keys * head / 2),
                                               keys,
                                               groups,
                                               1,
                                               head,
                                               false};
    });
  }

  void add_loss() {
    const std::int64_t vocabulary = sizes_.vocabulary;
    const std::int64_t rows = std::max<std::int64_t>(1, count_ / vocabulary);
    add("cross_entropy", 2 * rows * vocabulary * kSize + 12 * rows, rows, [=](DeviceArrays& arrays) {
      return kernels::CrossEntropyArguments<Element>{arrays.ones<Element>(rows * vocabulary),
                                                     arrays.ones<std::int64_t>(rows),
                                                     arrays.ones<float>(rows),
                                                     vocabulary,
                                                     true,
                                                     1.0F};
    });
  }

  /// The dense norms of rows that cancel: every element of W + change is formed.
  void add_norms() {
    const std::int64_t width = sizes_.width;
    const std::int64_t rank = sizes_.rank;
    const std::int64_t rows = std::min<std::int64_t>(sizes_.rows, 1'024);
    add("cancelling_norms", rows * width * kSize + 4 * rank * (rows + width) + 5 * rows, rows,
        [=](DeviceArrays& arrays) {
          return kernels::CancellingNormsArguments<Element>{arrays.ones<Element>(rows * width),
                                                            arrays.ones<float>(rank * width),
                                                            arrays.ones<float>(rank * rows),
                                                            arrays.ones<std::uint8_t>(rows),
                                                            arrays.ones<float>(rows),
                                                            rows,
                                                            width,
                                                            rank,
                                                            1.0F};
        });
    cases_.back().floats = rows * width * (2 * rank + 4);
  }

  KernelSizes sizes_;
  std::int64_t count_;
  std::vector<KernelCase> cases_{};
};

/// What optimizers, reductions and norms do with fp32 arrays.
void add_update_cases(std::vector<KernelCase>& cases, std::int64_t count) {
  const auto add = [&](const char* name, std::int64_t bytes_of_item, std::int64_t items, auto make) {
    cases.push_back({.name = name,
                     .numbers = "float32",
                     .bytes = bytes_of_item * items,
                     .floats = 0,
                     .prepare = call_of(items, make)});
  };
  add("adamw", 28, count, [count](DeviceArrays& arrays) {
    return kernels::AdamWArguments{arrays.ones<float>(count),
                                   arrays.ones<float>(count),
                                   arrays.ones<float>(count),
                                   arrays.ones<float>(count),
                                   {.step_size = 1e-3F}};
  });
  add("add_into", 12, count, [count](DeviceArrays& arrays) {
    return kernels::AddArguments{arrays.ones<float>(count), arrays.ones<float>(count)};
  });
  add("fill", 4, count, [count](DeviceArrays& arrays) {
    return kernels::FillArguments{arrays.ones<float>(count), 1.0F};
  });
  constexpr std::int64_t kBlock = 4'096;
  const std::int64_t blocks = std::max<std::int64_t>(1, count / kBlock);
  add("squared_blocks", 4 * kBlock + 8, blocks, [blocks](DeviceArrays& arrays) {
    return kernels::SquaredBlocksArguments{arrays.ones<float>(blocks * kBlock), arrays.ones<double>(blocks),
                                           blocks * kBlock, kBlock};
  });
  add("norms_from_terms", 17, count, [count](DeviceArrays& arrays) {
    return kernels::NormsFromTermsArguments{arrays.ones<float>(count), arrays.ones<float>(count),
                                            arrays.ones<float>(count), arrays.ones<float>(count),
                                            arrays.ones<std::uint8_t>(count)};
  });
  add("magnitude_factors", 20, count, [count](DeviceArrays& arrays) {
    return kernels::MagnitudeFactorsArguments{arrays.ones<float>(count), arrays.ones<float>(count),
                                              arrays.ones<float>(count), arrays.ones<float>(count),
                                              arrays.ones<float>(count)};
  });
}

/// What optimizers other than AdamW do with fp32 arrays and codes.
void add_optimizer_cases(std::vector<KernelCase>& cases, std::int64_t count) {
  const auto add = [&](const char* name, std::int64_t bytes_of_item, std::int64_t items, auto make) {
    cases.push_back({.name = name,
                     .numbers = "float32",
                     .bytes = bytes_of_item * items,
                     .floats = 0,
                     .prepare = call_of(items, make)});
  };
  add("lion", 20, count, [count](DeviceArrays& arrays) {
    return kernels::LionArguments{arrays.ones<float>(count), arrays.ones<float>(count), arrays.ones<float>(count), {}};
  });
  add("schedule_free", 28, count, [count](DeviceArrays& arrays) {
    return kernels::ScheduleFreeArguments{
        arrays.ones<float>(count), arrays.ones<float>(count), arrays.ones<float>(count), arrays.ones<float>(count), {}};
  });
  add("prodigy_moments", 28, count, [count](DeviceArrays& arrays) {
    return kernels::ProdigyMomentsArguments{
        arrays.ones<float>(count), arrays.ones<float>(count), arrays.ones<float>(count), arrays.ones<float>(count), {}};
  });
  constexpr std::int64_t kBlock = 4'096;
  const std::int64_t blocks = std::max<std::int64_t>(1, count / kBlock);
  add("prodigy_sums", 16 * kBlock + 16, blocks, [blocks](DeviceArrays& arrays) {
    const auto values = [&] { return arrays.ones<float>(blocks * kBlock); };
    return kernels::ProdigySumsArguments{values(),        values(), values(), values(), arrays.ones<double>(2 * blocks),
                                         blocks * kBlock, kBlock,   1.0F};
  });
  add("prodigy_step", 16, count, [count](DeviceArrays& arrays) {
    return kernels::ProdigyStepArguments{
        arrays.ones<float>(count), arrays.ones<float>(count), arrays.ones<float>(count), 1.0F, 1e-3F, 1e-8F};
  });
  const std::int64_t coded = (count + kernels::kMomentBlock - 1) / kernels::kMomentBlock;
  add("encode_moments", 5 * kernels::kMomentBlock + 4, coded, [=](DeviceArrays& arrays) {
    return kernels::EncodeMomentsArguments{.values = arrays.ones<float>(count),
                                           .codes = arrays.ones<std::uint8_t>(count),
                                           .largest = arrays.ones<float>(coded),
                                           .size = count,
                                           .width = kernels::kMomentBlock,
                                           .key = 7,
                                           .first_quad = 0,
                                           .code = kernels::MomentCode::kSecond,
                                           .nearest = false};
  });
  add("decode_moments", 5, count, [=](DeviceArrays& arrays) {
    return kernels::DecodeMomentsArguments{arrays.ones<std::uint8_t>(count), arrays.ones<float>(coded),
                                           arrays.ones<float>(count), kernels::MomentCode::kSecond};
  });
}

}  // namespace

DeviceArrays::DeviceArrays(std::string device) : device_(std::move(device)) {}
DeviceArrays::~DeviceArrays() = default;

template <typename Element>
Element* DeviceArrays::ones(std::int64_t count) {
  arrays_.push_back(at::full({count}, 1, at::TensorOptions(scalar_type<Element>()).device(at::Device(device_))));
  return static_cast<Element*>(arrays_.back().mutable_data_ptr());
}

void DeviceArrays::release() {
  arrays_.clear();
}

std::vector<KernelCase> kernel_cases(const KernelSizes& sizes) {
  std::vector<KernelCase> cases = ElementCases<float>(sizes).all();
  for (KernelCase& half : ElementCases<BFloat16>(sizes).all()) {
    cases.push_back(std::move(half));
  }
  add_update_cases(cases, sizes.rows * sizes.width);
  add_optimizer_cases(cases, sizes.rows * sizes.width);
  return cases;
}

}  // namespace dormer::cli
