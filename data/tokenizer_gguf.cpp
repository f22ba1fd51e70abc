#include "data/tokenizer_gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/log.h"
#include "core/utf8.h"

namespace keel::data {
namespace {

// Token types; sentencepiece_model.proto gives the same numbers to its pieces.
constexpr int64_t kNormal = 1, kControl = 3, kUserDefined = 4, kByte = 6;

[[noreturn]] void bad_metadata(const core::GgufFile& file, const std::string& text) {
  throw core::DataError(file.path(), 0, text);
}

const std::vector<std::string>& gguf_pieces(const core::GgufFile& file) {
  const auto& pieces = file.texts("tokenizer.ggml.tokens");
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (core::find_invalid_utf8(pieces[i]) != std::string::npos) bad_metadata(file, fmt::format("token {} must be UTF-8", i));
  }
  return pieces;
}

std::vector<int64_t> gguf_types(const core::GgufFile& file, size_t pieces) {
  if (!file.has("tokenizer.ggml.token_type")) return std::vector<int64_t>(pieces, kNormal);
  std::vector<int64_t> types = file.integers("tokenizer.ggml.token_type");
  if (types.size() != pieces) bad_metadata(file, fmt::format("{} tokens need as many token types, got {}", pieces, types.size()));
  for (int64_t& type : types) {
    if (type < kNormal || type > kByte) type = kNormal;  // 0 is "undefined"
  }
  return types;
}

// The text of the special token whose id is under `key`.
std::optional<std::string> named_token(const core::GgufFile& file, const char* key) {
  if (!file.has(key)) return std::nullopt;
  const auto& pieces = gguf_pieces(file);
  const int64_t id = file.integer(key);
  if (id < 0 || id >= static_cast<int64_t>(pieces.size()))
    bad_metadata(file, fmt::format("{} must be 0..{}, got {}", key, pieces.size() - 1, id));
  return pieces[static_cast<size_t>(id)];
}

constexpr const char* kBos = "tokenizer.ggml.bos_token_id";
constexpr const char* kEos = "tokenizer.ggml.eos_token_id";
constexpr const char* kUnknown = "tokenizer.ggml.unknown_token_id";
constexpr const char* kPad = "tokenizer.ggml.padding_token_id";

// The little of Protocol Buffers' wire format that a ModelProto needs.
class ProtoWriter {
 public:
  void integer(uint32_t field, uint64_t value) {
    varint(field << 3);
    varint(value);
  }
  void text(uint32_t field, const std::string& value) {
    varint((field << 3) | 2);
    varint(value.size());
    bytes_ += value;
  }
  void real(uint32_t field, float value) {
    varint((field << 3) | 5);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (uint32_t shift = 0; shift < 32; shift += 8)
      bytes_ += static_cast<char>(bits >> shift);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7)
      bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

struct WordRule {
  std::vector<const char*> names;  // of tokenizer.ggml.pre
  const char* pattern;             // cuts words; nullptr: GPT-2's, built into ByteLevel
  bool lone_digits = false;
  bool whole_words = false;  // a word that is a piece needs no merges
  bool adds_bos = false;     // unless add_bos_token says otherwise
};

const std::vector<WordRule>& word_rules() {
  static const std::vector<WordRule> kRules = {
      {.names = {"gpt-2", "gpt2"}, .pattern = nullptr},
      {.names = {"smollm", "starcoder", "refact", "command-r"}, .pattern = nullptr, .lone_digits = true},
      {.names = {"llama-bpe", "llama3", "llama-v3"},
       .pattern = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       .whole_words = true,
       .adds_bos = true}};
  return kRules;
}

const WordRule& word_rule(const core::GgufFile& file) {
  constexpr const char* kRemedy = "give the model's own tokenizer.json (convert --tokenizer PATH), or a file written anew by llama.cpp";
  if (!file.has("tokenizer.ggml.pre"))
    bad_metadata(file, fmt::format("has no tokenizer.ggml.pre, so it does not say how text is cut into words; {}", kRemedy));
  const std::string name = file.text("tokenizer.ggml.pre");
  std::string known;
  for (const WordRule& rule : word_rules()) {
    for (const char* candidate : rule.names) {
      if (name == candidate) return rule;
      known += (known.empty() ? "" : ", ") + std::string(candidate);
    }
  }
  bad_metadata(file, fmt::format("tokenizer.ggml.pre '{}' is not supported: {} are; {}", name, known, kRemedy));
}

bool gguf_adds_bos(const core::GgufFile& file) {
  return file.flag("tokenizer.ggml.add_bos_token", is_sentencepiece(file) || word_rule(file).adds_bos);
}

nlohmann::json pre_tokenizer_of(const WordRule& rule) {
  nlohmann::json steps = nlohmann::json::array();
  if (rule.lone_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (rule.pattern != nullptr) {
    steps.push_back({{"type", "Split"}, {"pattern", {{"Regex", rule.pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", rule.pattern == nullptr}});
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

// Begins every text with `bos`, as add_bos_token asks; transformers reads it here.
nlohmann::json bos_template(const std::string& bos, int64_t id) {
  const nlohmann::json start = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const nlohmann::json first = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}, second = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  return {{"type", "TemplateProcessing"},
          {"single", nlohmann::json::array({start, first})},
          {"pair", nlohmann::json::array({start, first, start, second})},
          {"special_tokens", {{bos, {{"id", bos}, {"ids", {id}}, {"tokens", {bos}}}}}}};
}

}  // namespace

bool is_sentencepiece(const core::GgufFile& file) {
  const std::string model = file.text("tokenizer.ggml.model");
  if (model != "llama" && model != "gpt2") bad_metadata(file, "tokenizer.ggml.model '" + model + "' is not supported: llama and gpt2 are");
  return model == "llama";
}

std::string gguf_sentencepiece_model(const core::GgufFile& file) {
  const auto& pieces = gguf_pieces(file);
  const auto& scores = file.numbers("tokenizer.ggml.scores");
  if (scores.size() != pieces.size())
    bad_metadata(file, fmt::format("{} tokens need as many scores, got {}", pieces.size(), scores.size()));
  const std::vector<int64_t> types = gguf_types(file, pieces.size());
  ProtoWriter model;
  bool has_bytes = false;
  for (size_t i = 0; i < pieces.size(); ++i) {
    ProtoWriter piece;
    piece.text(1, pieces[i]);
    piece.real(2, static_cast<float>(scores[i]));
    piece.integer(3, static_cast<uint64_t>(types[i]));
    model.text(1, piece.bytes());
    has_bytes |= types[i] == kByte;
  }
  ProtoWriter trainer;
  trainer.integer(3, 2);  // model_type: BPE
  trainer.integer(35, has_bytes ? 1 : 0);
  constexpr std::pair<uint32_t, const char*> kNames[] = {{45, kUnknown}, {46, kBos}, {47, kEos}, {48, kPad}};
  for (const auto& [field, key] : kNames) {
    if (const auto name = named_token(file, key)) trainer.text(field, *name);
  }
  model.text(2, trainer.bytes());
  ProtoWriter normalizer;
  normalizer.text(1, "identity");
  normalizer.integer(3, file.flag("tokenizer.ggml.add_space_prefix", true) ? 1 : 0);
  normalizer.integer(4, file.flag("tokenizer.ggml.remove_extra_whitespaces", false) ? 1 : 0);
  model.text(3, normalizer.bytes());
  return model.bytes();
}

nlohmann::json gguf_tokenizer_json(const core::GgufFile& file) {
  const auto& pieces = gguf_pieces(file);
  const std::vector<int64_t> types = gguf_types(file, pieces.size());
  nlohmann::json vocabulary = nlohmann::json::object(), added = nlohmann::json::array(), merges = nlohmann::json::array();
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (!vocabulary.emplace(pieces[i], i).second) bad_metadata(file, fmt::format("token '{}' stands twice", pieces[i]));
    if (types[i] != kControl && types[i] != kUserDefined) continue;
    added.push_back({{"id", i},
                     {"content", pieces[i]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", types[i] == kControl}});
  }
  for (const std::string& merge : file.texts("tokenizer.ggml.merges")) {
    if (core::find_invalid_utf8(merge) != std::string::npos) bad_metadata(file, "merges must be UTF-8");
    merges.push_back(merge);
  }
  const WordRule& rule = word_rule(file);
  nlohmann::json document = {{"version", "1.0"},
                             {"truncation", nullptr},
                             {"padding", nullptr},
                             {"added_tokens", added},
                             {"normalizer", nullptr},
                             {"pre_tokenizer", pre_tokenizer_of(rule)},
                             {"post_processor", nullptr},
                             {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}}};
  document["model"] = {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"ignore_merges", rule.whole_words},
                       {"vocab", vocabulary},
                       {"merges", merges}};
  if (const auto bos = named_token(file, kBos); bos && gguf_adds_bos(file)) {
    document["post_processor"] = bos_template(*bos, file.integer(kBos));
  }
  return document;
}

core::Ids gguf_stops(const core::GgufFile& file) {
  core::Ids stops;
  const int64_t eos = file.integer(kEos, -1);
  for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (const auto text = named_token(file, key); text && file.integer(key) != eos) stops.push_back(file.integer(key));
  return stops;
}

void warn_of_unknown_keys(const core::GgufFile& file) {
  constexpr std::string_view kKnown[] = {
      "model",  "pre",           "tokens",        "token_type",       "token_type_count",        "scores",
      "merges", "add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces"};
  std::string unknown;
  for (const auto& [key, value] : file.metadata()) {
    if (!key.starts_with("tokenizer.") || key == "tokenizer.chat_template") continue;
    const std::string name = key.starts_with("tokenizer.ggml.") ? key.substr(15) : key;
    const bool off = value == core::GgufValue(false) || value == core::GgufValue(int64_t{0});
    if (off || name.ends_with("_token_id") || std::ranges::find(kKnown, name) != std::end(kKnown)) continue;
    unknown += (unknown.empty() ? "" : ", ") + key;
  }
  if (!unknown.empty())
    core::log_warn_once(fmt::format("{}: {} not known to keel and not applied; texts may get other ids than with the program that wrote it",
                                    file.path(), unknown));
}

nlohmann::json gguf_tokenizer_config(const core::GgufFile& file) {
  nlohmann::json config = {{"tokenizer_class", is_sentencepiece(file) ? "LlamaTokenizer" : "PreTrainedTokenizerFast"},
                           {"add_bos_token", gguf_adds_bos(file)},
                           {"add_eos_token", file.flag("tokenizer.ggml.add_eos_token", false)},
                           {"clean_up_tokenization_spaces", false}};
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"bos_token", kBos}, {"eos_token", kEos}, {"unk_token", kUnknown}, {"pad_token", kPad}};
  for (const auto& [name, key] : kNames) {
    if (const auto text = named_token(file, key)) config[name] = *text;
  }
  if (file.has("tokenizer.chat_template")) config["chat_template"] = file.text("tokenizer.chat_template");
  return config;
}

}  // namespace keel::data
