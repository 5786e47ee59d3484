#include "support/png_file.hpp"

#include <fstream>
#include <string_view>

namespace dormer::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kBlock = 65'535;  // bytes of a stored block of DEFLATE, at most

void put_big_endian(Bytes& out, std::uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) {
    out.push_back(static_cast<std::uint8_t>(value >> shift));
  }
}

std::uint32_t crc32(const Bytes& bytes) {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const std::uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
    }
  }
  return ~crc;
}

void put_chunk(Bytes& out, std::string_view type, const Bytes& data) {
  Bytes checked(type.begin(), type.end());
  checked.insert(checked.end(), data.begin(), data.end());
  put_big_endian(out, static_cast<std::uint32_t>(data.size()));
  out.insert(out.end(), checked.begin(), checked.end());
  put_big_endian(out, crc32(checked));
}

/// A zlib stream of stored blocks.
Bytes stored(const Bytes& data) {
  Bytes out{0x78, 0x01};
  std::uint32_t a = 1;
  std::uint32_t b = 0;
  for (std::size_t begin = 0; begin < data.size(); begin += kBlock) {
    const std::size_t size = std::min(kBlock, data.size() - begin);
    out.push_back(begin + size == data.size() ? 1 : 0);
    for (const std::size_t word : {size, ~size}) {
      out.push_back(static_cast<std::uint8_t>(word));
      out.push_back(static_cast<std::uint8_t>(word >> 8));
    }
    for (std::size_t i = begin; i < begin + size; ++i) {
      out.push_back(data[i]);
      a = (a + data[i]) % 65'521;
      b = (b + a) % 65'521;
    }
  }
  put_big_endian(out, b << 16 | a);
  return out;
}

}  // namespace

std::vector<std::uint16_t> pattern(const PngFile& image) {
  std::vector<std::uint16_t> samples;
  for (std::uint32_t i = 0; i < image.width * image.height * image.channels; ++i) {
    samples.push_back(static_cast<std::uint16_t>((i * 2'654'435'761U) >> (32 - image.bits)));
  }
  return samples;
}

std::vector<std::uint8_t> png_bytes(const PngFile& image) {
  constexpr std::uint8_t kColourTypes[] = {0, 0, 4, 2, 6};
  Bytes header;
  put_big_endian(header, image.width);
  put_big_endian(header, image.height);
  for (const std::uint32_t byte : {image.bits, std::uint32_t{kColourTypes[image.channels]}, 0U, 0U, 0U}) {
    header.push_back(static_cast<std::uint8_t>(byte));
  }
  const std::vector<std::uint16_t> samples = image.samples.empty() ? pattern(image) : image.samples;
  Bytes rows;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (i % (image.width * image.channels) == 0) {
      rows.push_back(0);  // no filter
    }
    if (image.bits == 16) {
      rows.push_back(static_cast<std::uint8_t>(samples[i] >> 8));
    }
    rows.push_back(static_cast<std::uint8_t>(samples[i]));
  }
  Bytes file{0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  put_chunk(file, "IHDR", header);
  put_chunk(file, "IDAT", stored(rows));
  put_chunk(file, "IEND", {});
  return file;
}

void write_png(const std::filesystem::path& path, const PngFile& image) {
  std::filesystem::create_directories(path.parent_path());
  const Bytes bytes = png_bytes(image);
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace dormer::test
