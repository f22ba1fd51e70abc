#include "core/gguf_blocks.h"

#include <array>
#include <bit>
#include <cstring>

namespace keel::core {
namespace {

template <class T>
T load_as(const unsigned char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

float half_to_float(const unsigned char* bytes) {
  const uint32_t bits = load_as<uint16_t>(bytes);
  const uint32_t sign = (bits & 0x8000) << 16, exponent = (bits >> 10) & 0x1F, fraction = bits & 0x3FF;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000 | (fraction << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
  const float magnitude = static_cast<float>(fraction) * 0x1p-24F;  // subnormal
  return sign == 0 ? magnitude : -magnitude;
}

float low_nibble(unsigned char byte) {
  return static_cast<float>(byte & 0xF);
}
float high_nibble(unsigned char byte) {
  return static_cast<float>(byte >> 4);
}

void expand_f32(const unsigned char* block, float* weights) {
  *weights = load_as<float>(block);
}
void expand_f16(const unsigned char* block, float* weights) {
  *weights = half_to_float(block);
}
void expand_bf16(const unsigned char* block, float* weights) {
  *weights = std::bit_cast<float>(static_cast<uint32_t>(load_as<uint16_t>(block)) << 16);
}

void expand_q8_0(const unsigned char* block, float* weights) {
  const float scale = half_to_float(block);
  for (size_t i = 0; i < 32; ++i)
    weights[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

void expand_q4_0(const unsigned char* block, float* weights) {
  const float scale = half_to_float(block);
  for (size_t i = 0; i < 16; ++i) {
    weights[i] = scale * (low_nibble(block[2 + i]) - 8);
    weights[i + 16] = scale * (high_nibble(block[2 + i]) - 8);
  }
}

void expand_q4_1(const unsigned char* block, float* weights) {
  const float scale = half_to_float(block), least = half_to_float(block + 2);
  for (size_t i = 0; i < 16; ++i) {
    weights[i] = scale * low_nibble(block[4 + i]) + least;
    weights[i + 16] = scale * high_nibble(block[4 + i]) + least;
  }
}

// The fifth bits of Q5_0 and Q5_1 lie together, bit i for weight i.
float fifth(uint32_t bits, size_t i) {
  return static_cast<float>(((bits >> i) & 1) << 4);
}

void expand_q5_0(const unsigned char* block, float* weights) {
  const float scale = half_to_float(block);
  const auto bits = load_as<uint32_t>(block + 2);
  for (size_t i = 0; i < 16; ++i) {
    weights[i] = scale * (low_nibble(block[6 + i]) + fifth(bits, i) - 16);
    weights[i + 16] = scale * (high_nibble(block[6 + i]) + fifth(bits, i + 16) - 16);
  }
}

void expand_q5_1(const unsigned char* block, float* weights) {
  const float scale = half_to_float(block), least = half_to_float(block + 2);
  const auto bits = load_as<uint32_t>(block + 4);
  for (size_t i = 0; i < 16; ++i) {
    weights[i] = scale * (low_nibble(block[8 + i]) + fifth(bits, i)) + least;
    weights[i + 16] = scale * (high_nibble(block[8 + i]) + fifth(bits, i + 16)) + least;
  }
}

// 256 weights in eight groups of 32. Each group has a 6-bit scale and a 6-bit minimum, packed into 12 bytes: the first four of each in
// the low six bits of bytes 0-3 and 4-7, the last four as nibbles of bytes 8-11 with their upper two bits above those of the first.
void expand_q4_k(const unsigned char* block, float* weights) {
  const float scale = half_to_float(block), least = half_to_float(block + 2);
  const unsigned char* packed = block + 4;
  const unsigned char* quants = block + 16;
  for (size_t group = 0; group < 8; ++group) {
    const size_t k = group % 4;
    const int group_scale = group < 4 ? packed[k] & 63 : (packed[k + 8] & 0xF) | ((packed[k] >> 6) << 4);
    const int group_least = group < 4 ? packed[k + 4] & 63 : (packed[k + 8] >> 4) | ((packed[k + 4] >> 6) << 4);
    const float factor = scale * static_cast<float>(group_scale), shift = least * static_cast<float>(group_least);
    for (size_t i = 0; i < 32; ++i) {  // two groups share 32 bytes, one in each nibble
      const unsigned char byte = quants[group / 2 * 32 + i];
      weights[group * 32 + i] = factor * (group % 2 == 0 ? low_nibble(byte) : high_nibble(byte)) - shift;
    }
  }
}

// 256 weights in two halves of 128: 64 bytes of lower nibbles, 32 bytes of upper bit pairs, eight int8 scales for 16 weights each.
void expand_q6_k(const unsigned char* block, float* weights) {
  const float scale = half_to_float(block + 208);
  for (size_t i = 0; i < 256; ++i) {
    const size_t side = i / 128, quarter = i % 128 / 32, lane = i % 32;
    const unsigned char nibbles = block[side * 64 + quarter % 2 * 32 + lane];
    const int lower = quarter < 2 ? nibbles & 0xF : nibbles >> 4;
    const int upper = (block[128 + side * 32 + lane] >> (2 * quarter)) & 3;
    const auto group_scale = static_cast<int8_t>(block[192 + i / 16]);
    weights[i] = scale * static_cast<float>(group_scale) * static_cast<float>((lower | (upper << 4)) - 32);
  }
}

constexpr std::array<GgufBlock, 10> kBlocks = {{{0, "F32", 1, 4, expand_f32},
                                                {1, "F16", 1, 2, expand_f16},
                                                {30, "BF16", 1, 2, expand_bf16},
                                                {8, "Q8_0", 32, 34, expand_q8_0},
                                                {2, "Q4_0", 32, 18, expand_q4_0},
                                                {3, "Q4_1", 32, 20, expand_q4_1},
                                                {6, "Q5_0", 32, 22, expand_q5_0},
                                                {7, "Q5_1", 32, 24, expand_q5_1},
                                                {12, "Q4_K", 256, 144, expand_q4_k},
                                                {14, "Q6_K", 256, 210, expand_q6_k}}};

}  // namespace

const GgufBlock* find_gguf_block(uint32_t type) {
  for (const GgufBlock& block : kBlocks) {
    if (block.type == type) return &block;
  }
  return nullptr;
}

const char* ggml_type_name(uint32_t type) {
  static constexpr std::array<const char*, 40> kNames = {
      "F32",    "F16",      "Q4_0",     "Q4_1",     "Q4_2",  "Q4_3",  "Q5_0",       "Q5_1",       "Q8_0",       "Q8_1",
      "Q2_K",   "Q3_K",     "Q4_K",     "Q5_K",     "Q6_K",  "Q8_K",  "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",    "IQ1_S",
      "IQ4_NL", "IQ3_S",    "IQ2_S",    "IQ4_XS",   "I8",    "I16",   "I32",        "I64",        "F64",        "IQ1_M",
      "BF16",   "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0", "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4"};
  return type < kNames.size() ? kNames[type] : nullptr;
}

std::string gguf_block_names() {
  std::string names;
  for (const GgufBlock& block : kBlocks)
    names += (names.empty() ? "" : ", ") + std::string(block.name);
  return names;
}

}  // namespace keel::core
