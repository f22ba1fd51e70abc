#include "policy/import.h"

#include "core/error.h"
#include "policy/lively_model.h"
#include "support/gguf_builder.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::policy::import_gguf;
using keel::policy::import_llama2c;
using keel::policy::Llama;
using keel::policy::LlamaConfig;
using keel::policy::RopeKind;
using keel::policy::RopeScaling;
using keel::test::TemporaryFolder;
using keel::test::write_text;
namespace gguf = keel::test::gguf;

namespace {

using keel::test::bytes_of;
using keel::test::interleaved;
std::string bytes_of(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.to(at::kFloat).contiguous();
  return {static_cast<const char*>(plain.const_data_ptr()), plain.nbytes()};
}

Llama importable_llama(bool tied) {
  LlamaConfig config = keel::test::lively_config();
  config.tie_word_embeddings = tied;
  return keel::test::lively_llama(config);
}

std::string llama2c_bytes(const Llama& model) {
  const LlamaConfig& c = model.config;
  const int64_t vocabulary = c.tie_word_embeddings ? c.vocab_size : -c.vocab_size;
  std::string bytes;
  for (const int64_t value : {c.hidden_size, c.intermediate_size, c.num_hidden_layers, c.num_attention_heads, c.num_key_value_heads,
                              vocabulary, c.max_position_embeddings})
    bytes += bytes_of(static_cast<int32_t>(value));
  bytes += bytes_of(model.embedding);
  const auto each = [&](const auto& weights) {
    for (const auto& layer : model.layers)
      bytes += bytes_of(weights(layer));
  };
  each([](const auto& layer) { return layer.input_norm; });
  each([&](const auto& layer) { return interleaved(layer.q, c.num_attention_heads); });
  each([&](const auto& layer) { return interleaved(layer.k, c.num_key_value_heads); });
  each([](const auto& layer) { return layer.v; });
  each([](const auto& layer) { return layer.o; });
  each([](const auto& layer) { return layer.post_norm; });
  each([](const auto& layer) { return layer.gate; });
  each([](const auto& layer) { return layer.down; });
  each([](const auto& layer) { return layer.up; });
  bytes += bytes_of(model.norm);
  bytes.append(static_cast<size_t>(c.max_position_embeddings * c.head_size()) * sizeof(float), '\x7f');  // rotary tables, not read
  if (!c.tie_word_embeddings) bytes += bytes_of(model.head);
  return bytes;
}

struct GgufParts {
  std::vector<std::string> pairs;
  std::vector<keel::runtime::NamedTensor> tensors;

  std::string bytes() const {
    gguf::Tensors written;
    for (const auto& [name, tensor] : tensors)
      written.add(name, tensor.sizes().vec(), bytes_of(tensor));
    return gguf::file(pairs, written.infos, written.data);
  }
};

GgufParts gguf_of(const Llama& model) {
  const LlamaConfig& c = model.config;
  GgufParts file{
      .pairs = {gguf::pair("general.architecture", gguf::text("llama")), gguf::pair("llama.embedding_length", gguf::number(c.hidden_size)),
                gguf::pair("llama.feed_forward_length", gguf::number(c.intermediate_size)),
                gguf::pair("llama.block_count", gguf::number(c.num_hidden_layers)),
                gguf::pair("llama.attention.head_count", gguf::number(c.num_attention_heads)),
                gguf::pair("llama.attention.head_count_kv", gguf::number(c.num_key_value_heads)),
                gguf::pair("llama.attention.key_length", gguf::number(c.head_size())),
                gguf::pair("llama.rope.dimension_count", gguf::number(c.head_size())),
                gguf::pair("llama.context_length", gguf::number(c.max_position_embeddings)),
                gguf::pair("llama.attention.layer_norm_rms_epsilon", gguf::real(c.rms_norm_eps)),
                gguf::pair("llama.rope.freq_base", gguf::real(c.rope_theta))},
      .tensors = {{"token_embd.weight", model.embedding}, {"output_norm.weight", model.norm}}};
  if (!c.tie_word_embeddings) file.tensors.push_back({"output.weight", model.head});
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const auto& layer = model.layers[i];
    const std::string block = "blk." + std::to_string(i) + ".";
    for (const auto& [name, tensor] :
         std::vector<std::pair<std::string, at::Tensor>>{{"attn_norm", layer.input_norm},
                                                         {"attn_q", interleaved(layer.q, c.num_attention_heads)},
                                                         {"attn_k", interleaved(layer.k, c.num_key_value_heads)},
                                                         {"attn_v", layer.v},
                                                         {"attn_output", layer.o},
                                                         {"ffn_norm", layer.post_norm},
                                                         {"ffn_gate", layer.gate},
                                                         {"ffn_up", layer.up},
                                                         {"ffn_down", layer.down}})
      file.tensors.push_back({block + name + ".weight", tensor});
  }
  return file;
}

template <class Import>
std::string import_complaint(const Import& import, const std::string& bytes) {
  const TemporaryFolder folder;
  write_text(folder / "model.bin", bytes);
  try {
    import(folder / "model.bin");
    return "";
  } catch (const DataError& error) {
    CHECK_THAT(error.what(), ContainsSubstring("model.bin"));
    return error.what();
  }
}

std::string llama2c_complaint(const std::string& bytes) {
  return import_complaint(import_llama2c, bytes);
}
std::string gguf_import_complaint(const GgufParts& file) {
  return import_complaint(import_gguf, file.bytes());
}

}  // namespace

TEST_CASE("import: a llama2.c file gives the same weights as the Hugging Face layout", "[policy]") {
  const Llama model = importable_llama(GENERATE(true, false));
  const TemporaryFolder folder;
  write_text(folder / "m.bin", llama2c_bytes(model));
  const Llama read = import_llama2c(folder / "m.bin");
  CHECK(keel::runtime::digest(parameters(read)) == keel::runtime::digest(parameters(model)));
  CHECK(keel::policy::to_hugging_face(read.config) == keel::policy::to_hugging_face(model.config));
}

TEST_CASE("import: a llama2.c file of any other length is refused", "[policy]") {
  const std::string bytes = llama2c_bytes(importable_llama(true));
  for (const size_t length :
       {size_t{0}, size_t{1}, size_t{27}, size_t{28}, size_t{29}, bytes.size() / 2, bytes.size() - 4, bytes.size() - 1})
    CHECK_FALSE(llama2c_complaint(bytes.substr(0, length)).empty());
  CHECK_THAT(llama2c_complaint(bytes + "x"), ContainsSubstring("bytes long by its header"));
  CHECK_THAT(llama2c_complaint(bytes + std::string(4, '\0')), ContainsSubstring("bytes long by its header"));
  CHECK_THAT(llama2c_complaint(bytes.substr(0, 27)), ContainsSubstring("is 27 bytes long"));
}

TEST_CASE("import: a llama2.c header that lies is refused before anything is allocated", "[policy]") {
  const std::string bytes = llama2c_bytes(importable_llama(true));
  for (size_t field = 0; field < 7; ++field) {
    for (const int32_t value : {0, -1, 3, INT32_MAX, INT32_MIN}) {
      std::string lying = bytes;
      lying.replace(4 * field, 4, bytes_of(value));
      INFO("field " << field << " = " << value);
      CHECK_FALSE(llama2c_complaint(lying).empty());
    }
  }
}

TEST_CASE("import: a GGUF file gives the same weights as the Hugging Face layout", "[policy]") {
  const Llama model = importable_llama(GENERATE(true, false));
  GgufParts file = gguf_of(model);
  file.tensors.push_back({"rope_freqs.weight", at::ones({2})});
  const TemporaryFolder folder;
  write_text(folder / "m.gguf", file.bytes());
  const Llama read = import_gguf(folder / "m.gguf");
  CHECK(keel::runtime::digest(parameters(read)) == keel::runtime::digest(parameters(model)));
  CHECK(keel::policy::to_hugging_face(read.config) == keel::policy::to_hugging_face(model.config));
}

TEST_CASE("import: GGUF heads of their own width, and defaults for what may be left out", "[policy]") {
  LlamaConfig config = keel::test::lively_config();
  config.head_dim = 6;
  config.num_key_value_heads = 4;
  const Llama model = keel::test::lively_llama(config);
  GgufParts file = gguf_of(model);
  file.pairs.erase(file.pairs.begin() + 7);  // rope.dimension_count
  file.pairs.erase(file.pairs.begin() + 5);  // head_count_kv
  file.pairs.pop_back();                     // rope.freq_base
  const TemporaryFolder folder;
  write_text(folder / "m.gguf", file.bytes());
  CHECK(keel::runtime::digest(parameters(import_gguf(folder / "m.gguf"))) == keel::runtime::digest(parameters(model)));
}

TEST_CASE("import: GGUF tensors that are missing, unknown, misshapen or doubled are refused", "[policy]") {
  const GgufParts whole = gguf_of(importable_llama(false));
  GgufParts missing = whole, unknown = whole, misshapen = whole, doubled = whole;
  missing.tensors.pop_back();
  missing.tensors.erase(missing.tensors.begin());
  CHECK_FALSE(gguf_import_complaint(missing).empty());
  missing.tensors.insert(missing.tensors.begin(), whole.tensors[0]);
  CHECK_THAT(gguf_import_complaint(missing), ContainsSubstring("model.layers.1.mlp.down_proj.weight is missing"));
  unknown.tensors.push_back({"blk.0.attn_q.bias", at::ones({16})});
  CHECK_THAT(gguf_import_complaint(unknown), ContainsSubstring("blk.0.attn_q.bias belongs to no Llama"));
  misshapen.tensors[4].tensor = at::ones({18, 16});
  CHECK_THAT(gguf_import_complaint(misshapen), ContainsSubstring("self_attn.q_proj.weight must be [16, 16]"));
  doubled.tensors.push_back(whole.tensors[1]);
  CHECK_FALSE(gguf_import_complaint(doubled).empty());
}

TEST_CASE("import: other rope scaling of a GGUF file is refused in every spelling, and what would change the arithmetic by its key",
          "[policy]") {
  const GgufParts whole = gguf_of(importable_llama(true));
  const auto with = [&](const std::vector<std::string>& pairs) {
    GgufParts changed = whole;
    changed.pairs.insert(changed.pairs.end(), pairs.begin(), pairs.end());
    return gguf_import_complaint(changed);
  };
  const auto scaling = [](const std::string& type) { return gguf::pair("llama.rope.scaling.type", gguf::text(type)); };
  for (const char* key : {"llama.rope.scaling.yarn_log_multiplier", "llama.rope.scaling.attn_factor"}) {
    CHECK_THAT(with({gguf::pair(key, gguf::real(4))}), ContainsSubstring(key) && ContainsSubstring("is rope scaling"));
    CHECK(with({gguf::pair(key, gguf::real(1))}).empty());
    CHECK(with({gguf::pair(key, gguf::real(0))}).empty());
    CHECK(with({scaling("none"), gguf::pair(key, gguf::real(4))}).empty());  // llama.cpp scales nothing then
  }
  for (const char* type : {"yarn", "longrope"})
    CHECK_THAT(with({scaling(type)}), ContainsSubstring(type));
  CHECK(
      with({gguf::pair("llama.rope.scaling.original_context_length", gguf::number(2048)), gguf::pair("llama.vocab_size", gguf::number(23))})
          .empty());
  for (const char* key : {"llama.expert_count", "llama.attention.sliding_window", "llama.attn_logit_softcapping"}) {
    CHECK_THAT(with({gguf::pair(key, gguf::number(8))}), ContainsSubstring(key) && ContainsSubstring("not supported"));
    CHECK(with({gguf::pair(key, gguf::number(0))}).empty());
  }
  for (const char* key : {"llama.attention.scale", "llama.attention.clamp_kqv", "llama.logit_scale", "llama.residual_scale"})
    CHECK_THAT(with({gguf::pair(key, gguf::real(0.5))}), ContainsSubstring(key));
  CHECK_THAT(with({gguf::pair("llama.attention.value_length", gguf::number(8))}),
             ContainsSubstring("value_length must be the width of a head"));
  CHECK_THAT(with({gguf::pair("llama.new_idea", gguf::number(1))}), ContainsSubstring("llama.new_idea = 1 is not known"));
  CHECK(with({gguf::pair("general.name", gguf::text("x")), gguf::pair("qwen2.rope.scaling.factor", gguf::real(4))}).empty());
  CHECK_THAT(with({gguf::pair("general.type", gguf::text("adapter"))}), ContainsSubstring("of type \"adapter\", not a model"));
}

TEST_CASE("import: linear rope scaling of a GGUF file is taken under both its names, as llama.cpp takes it", "[policy]") {
  const GgufParts whole = gguf_of(importable_llama(true));
  const TemporaryFolder folder;
  const auto scaling_with = [&](const std::vector<std::string>& pairs) {
    GgufParts changed = whole;
    changed.pairs.insert(changed.pairs.end(), pairs.begin(), pairs.end());
    write_text(folder / "m.gguf", changed.bytes());
    return import_gguf(folder / "m.gguf").config.rope_scaling;
  };
  const std::string linear = gguf::pair("llama.rope.scaling.type", gguf::text("linear")),
                    none = gguf::pair("llama.rope.scaling.type", gguf::text("none"));
  const std::string four = gguf::pair("llama.rope.scaling.factor", gguf::real(4)),
                    older = gguf::pair("llama.rope.scale_linear", gguf::real(3));
  const RopeScaling by_four = {.kind = RopeKind::linear, .factor = 4}, by_three = {.kind = RopeKind::linear, .factor = 3};
  CHECK(scaling_with({linear, four}) == by_four);
  CHECK(scaling_with({four}) == by_four);  // llama.cpp's default type
  CHECK(scaling_with({older}) == by_three);
  CHECK(scaling_with({older, four}) == by_four);
  CHECK(scaling_with({linear}) == RopeScaling{});
  CHECK(scaling_with({none, four}) == RopeScaling{});
  for (const double neutral : {0, 1})
    CHECK(scaling_with({linear, gguf::pair("llama.rope.scaling.factor", gguf::real(neutral))}) == RopeScaling{});
  CHECK_THROWS_WITH(scaling_with({gguf::pair("llama.rope.scaling.factor", gguf::real(0.5))}), ContainsSubstring("must be at least 1"));
}

TEST_CASE("import: the divisors that llama.cpp writes for Llama 3's rope scaling are taken back into its constants", "[policy]") {
  // Those of an 8 wide head with base 500,000, worked with Python floats by the published rule: wavelengths 6.3, 167.1, 4442.9 and
  // 118142.5.
  LlamaConfig config = keel::test::lively_config();
  config.head_dim = 8;
  config.rope_theta = 500000;
  GgufParts file = gguf_of(keel::test::lively_llama(config));
  file.tensors.push_back({"rope_freqs.weight", at::tensor(std::vector<double>{1, 1, 3.2922621, 32}).to(at::kFloat)});
  const TemporaryFolder folder;
  write_text(folder / "m.gguf", file.bytes());
  CHECK(import_gguf(folder / "m.gguf").config.rope_scaling == RopeScaling{.kind = RopeKind::llama3, .factor = 32});
  GgufParts both = file;
  both.pairs.push_back(gguf::pair("llama.rope.scaling.factor", gguf::real(2)));
  CHECK_THAT(gguf_import_complaint(both), ContainsSubstring("rope_freqs.weight"));
  file.tensors.back().tensor = at::tensor(std::vector<double>{1, 1, 3.2924, 32}).to(at::kFloat);
  CHECK_THAT(gguf_import_complaint(file), ContainsSubstring("which is not supported"));
}

TEST_CASE("import: GGUF metadata that is missing, contradictory or asks for other arithmetic is refused", "[policy]") {
  const GgufParts whole = gguf_of(importable_llama(true));
  const auto with = [&](size_t place, const std::string& pair) {
    GgufParts changed = whole;
    changed.pairs[place] = pair;
    return gguf_import_complaint(changed);
  };
  CHECK_THAT(with(0, gguf::pair("general.architecture", gguf::text("qwen2"))), ContainsSubstring("must be \"llama\", got \"qwen2\""));
  CHECK_THAT(with(1, gguf::pair("other", gguf::number(1))), ContainsSubstring("llama.embedding_length"));
  CHECK_THAT(with(4, gguf::pair("llama.attention.head_count", gguf::number(3))), ContainsSubstring("num_key_value_heads must divide"));
  CHECK_THAT(with(6, gguf::pair("llama.attention.key_length", gguf::number(8))), ContainsSubstring("llama.rope.dimension_count must be"));
  CHECK_THAT(with(7, gguf::pair("llama.rope.scaling.type", gguf::text("yarn"))), ContainsSubstring("\"yarn\" is not supported"));
  CHECK_THAT(with(9, gguf::pair("llama.attention.layer_norm_rms_epsilon", gguf::real(0))),
             ContainsSubstring("rms_norm_eps must be positive"));
  GgufParts scaled = whole;
  scaled.tensors.push_back({"rope_freqs.weight", at::tensor(std::vector<float>{1, 8})});
  CHECK_THAT(gguf_import_complaint(scaled), ContainsSubstring("rope_freqs.weight scales the rotary embedding"));
  scaled.tensors.back().tensor = at::tensor(std::vector<float>{1, 1, 8});
  CHECK_THAT(gguf_import_complaint(scaled), ContainsSubstring("rope_freqs.weight scales the rotary embedding"));
}
