// Text to token ids and back. Text never becomes a special id: "</s>" typed by a user is spelled out of ordinary pieces.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/types.h"

namespace keel::data {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Ids of UTF-8 text, without BOS or EOS. Throws std::invalid_argument for invalid UTF-8 (callers add file and line).
  virtual core::Ids encode(std::string_view text) const = 0;

  // Ids of text that follows a special id or other text. Tokenizers that put a blank before a text may leave it out there.
  virtual core::Ids encode_behind_special(std::string_view text) const { return encode(text); }

  // Text of ids; special ids (BOS, EOS, <|im_start|> ...) give nothing. Throws std::out_of_range for an id outside the vocabulary. Bytes
  // that are not valid UTF-8 after decoding (a cut byte-fallback run) become U+FFFD.
  virtual std::string decode(const core::Ids& ids) const = 0;

  virtual int64_t vocab_size() const = 0;                                   // ids are 0 .. vocab_size-1
  virtual std::optional<int64_t> special(std::string_view text) const = 0;  // id of a special token by its text: "<|im_start|>"
  virtual std::vector<std::string> special_texts() const = 0;               // those that special() knows

  std::optional<int64_t> bos() const { return bos_; }
  std::optional<int64_t> eos() const { return eos_; }
  std::optional<int64_t> pad() const { return pad_; }
  // What raw text starts with by the tokenizer's own files: BOS, unless the post_processor of a tokenizer.json names another token.
  std::optional<int64_t> start() const { return start_; }
  bool adds_bos() const { return start_.has_value(); }
  virtual bool is_special(int64_t id) const { return id == bos_ || id == eos_ || id == pad_; }
  virtual bool trims(int64_t) const { return false; }  // whether the special id takes the blanks around it (lstrip, rstrip)

  // Further ids that end an answer, as the files of a model folder or a GGUF file say.
  const core::Ids& stops() const { return stops_; }
  void set_stops(core::Ids stops) { stops_ = std::move(stops); }

 protected:
  std::optional<int64_t> bos_, eos_, pad_, start_;
  core::Ids stops_;
};

// PATH is a SentencePiece .model, a tokenizer.json, a .gguf, or a folder that holds tokenizer.json or tokenizer.model (tokenizer.json wins
// when both are there). Files beside it are read too: tokenizer_config.json, special_tokens_map.json, added_tokens.json,
// generation_config.json. Throws UsageError when missing, DataError when broken.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);

}  // namespace keel::data
