#include "report/event_records.hpp"

#include <bit>
#include <cmath>
#include <optional>

#include "report/crc32c.hpp"

namespace dormer::report {
namespace {

// Fields of tensorflow.Event, Summary and SessionLog as (number << 3 | wire type).
constexpr char kWallTime = (1 << 3) | 1;
constexpr char kStep = (2 << 3) | 0;
constexpr char kFileVersion = (3 << 3) | 2;
constexpr char kSummary = (5 << 3) | 2;
constexpr char kSessionLog = (7 << 3) | 2;
constexpr char kSummaryValue = (1 << 3) | 2;
constexpr char kTag = (1 << 3) | 2;
constexpr char kSimpleValue = (2 << 3) | 5;
constexpr char kSessionStatus = (1 << 3) | 0;
constexpr std::size_t kHeader = 12;  // of a frame: length and its sum
constexpr std::size_t kFooter = 4;

template <typename T>
std::string little_endian(T value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    bytes += static_cast<char>((value >> (8 * i)) & 0xFFU);
  }
  return bytes;
}

std::uint64_t read_little_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return value;
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80U; value >>= 7) {
    bytes += static_cast<char>((value & 0x7FU) | 0x80U);
  }
  return bytes + static_cast<char>(value);
}

std::optional<std::uint64_t> read_varint(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size() && i < 10; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    value |= static_cast<std::uint64_t>(byte & 0x7FU) << (7 * i);
    if (byte < 0x80U) {
      return value;
    }
  }
  return std::nullopt;
}

std::string field(char key, std::string_view content) {
  return key + varint(content.size()) + std::string(content);
}

std::string wall_time_field(double seconds) {
  return kWallTime + little_endian(std::bit_cast<std::uint64_t>(seconds));
}

std::string step_field(std::int64_t step) {
  return kStep + varint(static_cast<std::uint64_t>(step));
}

/// The step of a message that `scalar_record` made.
std::optional<std::int64_t> scalars_step(std::string_view message) {
  constexpr std::size_t kStepAt = 9;  // after the time
  if (message.size() <= kStepAt + 1 || message[0] != kWallTime || message[kStepAt] != kStep) {
    return std::nullopt;
  }
  const std::optional<std::uint64_t> step = read_varint(message.substr(kStepAt + 1));
  const std::size_t next = step ? kStepAt + 1 + varint(*step).size() : message.size();
  if (next >= message.size() || message[next] != kSummary) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(*step);
}

}  // namespace

std::string framed(std::string_view message) {
  const std::string length = little_endian(static_cast<std::uint64_t>(message.size()));
  return length + little_endian(masked_crc32c(length)) + std::string(message) + little_endian(masked_crc32c(message));
}

std::string file_beginning(double wall_time, std::int64_t step) {
  constexpr char kStart = 1;
  return framed(wall_time_field(wall_time) + field(kFileVersion, "brain.Event:2")) +
         framed(wall_time_field(wall_time) + step_field(step) +
                field(kSessionLog, std::string{kSessionStatus, kStart}));
}

std::string scalar_record(double wall_time, std::int64_t step, std::span<const Metric> metrics) {
  std::string summary;
  for (const Metric& metric : metrics) {
    const auto value = std::visit([](auto number) { return static_cast<float>(number); }, metric.value);
    if (std::isfinite(value)) {
      summary += field(kSummaryValue,
                       field(kTag, metric.name) + kSimpleValue + little_endian(std::bit_cast<std::uint32_t>(value)));
    }
  }
  return framed(wall_time_field(wall_time) + step_field(step) + field(kSummary, summary));
}

KeptEvents kept_events(std::string_view file, std::int64_t last_step) {
  KeptEvents kept;
  while (file.size() - kept.bytes >= kHeader + kFooter) {
    const std::string_view rest = file.substr(kept.bytes);
    const std::uint64_t length = read_little_endian(rest.substr(0, 8));
    if (read_little_endian(rest.substr(8, 4)) != masked_crc32c(rest.substr(0, 8)) ||
        length > rest.size() - kHeader - kFooter) {
      break;
    }
    const std::string_view message = rest.substr(kHeader, length);
    const std::optional<std::int64_t> step = scalars_step(message);
    if (read_little_endian(rest.substr(kHeader + length, kFooter)) != masked_crc32c(message) ||
        (step && *step > last_step)) {
      break;
    }
    kept.last_step = step.value_or(kept.last_step);
    kept.bytes += kHeader + length + kFooter;
  }
  return kept;
}

}  // namespace dormer::report
