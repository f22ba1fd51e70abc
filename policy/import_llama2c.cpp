// Reads the format that karpathy/llama2.c's export.py calls version 0.
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <array>
#include <cstring>

#include "core/error.h"
#include "core/file_kind.h"
#include "core/files.h"
#include "policy/import.h"
#include "policy/model_directory.h"

namespace keel::policy {
namespace {

LlamaConfig read_header(std::string_view bytes, const std::string& path) {
  std::array<int32_t, 7> header{};
  if (bytes.size() < sizeof(header))
    throw core::DataError(path, 0, fmt::format("is {} bytes long, a llama2.c header alone has {}", bytes.size(), sizeof(header)));
  std::memcpy(header.data(), bytes.data(), sizeof(header));
  LlamaConfig config;
  config.hidden_size = header[0];
  config.intermediate_size = header[1];
  config.num_hidden_layers = header[2];
  config.num_attention_heads = header[3];
  config.num_key_value_heads = header[4];
  config.vocab_size = std::abs(int64_t{header[5]});
  config.max_position_embeddings = header[6];
  config.tie_word_embeddings = header[5] > 0;
  if (const auto problems = problems_of(config); !problems.empty())
    throw core::DataError(path, 0, fmt::format("is no llama2.c checkpoint: {}", problems.front()));
  return config;
}

// Numbers of cos and sin, which keel computes itself.
int64_t rope_table_size(const LlamaConfig& config) {
  return config.max_position_embeddings * config.head_size();
}

// The header's shape, if the file is as long as it says.
LlamaConfig checked_config(std::string_view bytes, const std::filesystem::path& file) {
  core::refuse_foreign_file(bytes, file);
  const LlamaConfig config = read_header(bytes, file);
  const Llama model = empty_llama(config, c10::kMeta);
  const auto expected =
      static_cast<uint64_t>(runtime::count_elements(parameters(model)) + rope_table_size(config)) * sizeof(float) + 7 * sizeof(int32_t);
  if (bytes.size() != expected)
    throw core::DataError(
        file, 0,
        fmt::format("must be {} bytes long by its header, got {}; the file is cut or no llama2.c checkpoint", expected, bytes.size()));
  return config;
}

}  // namespace

LlamaConfig llama2c_config(const std::filesystem::path& file) {
  const core::MappedFile mapped(file);
  return checked_config(mapped.bytes(), file);
}

Llama import_llama2c(const std::filesystem::path& file) {
  const core::MappedFile mapped(file);
  const std::string_view bytes = mapped.bytes();
  const LlamaConfig config = checked_config(bytes, file);
  Llama model = empty_llama(config, c10::kMeta);

  size_t offset = 7 * sizeof(int32_t);
  const auto read = [&](at::Tensor& tensor) {
    tensor = at::empty(tensor.sizes());
    std::memcpy(tensor.mutable_data_ptr(), bytes.data() + offset, tensor.nbytes());
    offset += tensor.nbytes();
  };
  const auto read_each = [&](at::Tensor LlamaLayer::*member) {
    for (auto& layer : model.layers)
      read(layer.*member);
  };
  read(model.embedding);
  for (const auto member : {&LlamaLayer::input_norm, &LlamaLayer::q, &LlamaLayer::k, &LlamaLayer::v, &LlamaLayer::o, &LlamaLayer::post_norm,
                            &LlamaLayer::gate, &LlamaLayer::down, &LlamaLayer::up})
    read_each(member);
  read(model.norm);
  offset += static_cast<size_t>(rope_table_size(config)) * sizeof(float);
  if (config.tie_word_embeddings)
    model.head = model.embedding;
  else
    read(model.head);
  for (auto& layer : model.layers) {
    layer.q = rotate_half_rows(layer.q, config.num_attention_heads);
    layer.k = rotate_half_rows(layer.k, config.num_key_value_heads);
  }
  return model;
}

}  // namespace keel::policy
