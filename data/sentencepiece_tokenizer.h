// SentencePiece models (.model), through libsentencepiece.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/tokenizer.h"
#include "data/tokenizer_config.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace keel::data {

// Control pieces and <unk> are special. Control pieces have no spelling: libsentencepiece never makes them from text.
class SentencePieceTokenizer : public Tokenizer {
 public:
  // `model` holds a serialised ModelProto; `origin` names it in errors. `config` overrules the ids that the model names; unless it says
  // otherwise a model that has a BOS puts it before raw text, as Llama's does. Throws DataError for anything but a sound model.
  SentencePieceTokenizer(const std::string& model, const std::string& origin, const TokenizerConfig& config = {});
  ~SentencePieceTokenizer() override;

  core::Ids encode(std::string_view text) const override;
  std::string decode(const core::Ids& ids) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(is_special_.size()); }
  std::optional<int64_t> special(std::string_view text) const override;

 private:
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  std::vector<bool> is_special_;  // by id
  std::unordered_map<std::string, int64_t> specials_;
};

}  // namespace keel::data
