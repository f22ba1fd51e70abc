// The block formats of ggml: a few weights share a scale. Layouts as in ggml's ggml-common.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace keel::core {

struct GgufBlock {
  uint32_t type;     // ggml type id
  const char* name;  // "Q4_K"
  int64_t elements;  // weights of one block
  size_t bytes;      // of one block
  void (*expand)(const unsigned char* block, float* weights);
};

const GgufBlock* find_gguf_block(uint32_t type);  // nullptr for a type that is not read
std::string gguf_block_names();                   // "F32, F16, ..."
const char* ggml_type_name(uint32_t type);        // of any type that ggml defines, read here or not; nullptr for others

}  // namespace keel::core
