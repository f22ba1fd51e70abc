// SentencePiece models (.model), through libsentencepiece.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "data/tokenizer_config.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace keel::data {

// Control pieces and <unk> are special, and so are the tokens that the config calls special. None of them is ever made from text. Added
// tokens that are not special are found in text before the model sees it, the longest first.
class SentencePieceTokenizer : public Tokenizer {
 public:
  // `model` holds a serialised ModelProto; `origin` names it in errors. `config` overrules the ids that the model names; unless it says
  // otherwise a model that has a BOS puts it before raw text, as Llama's does. Throws DataError for anything but a sound model, for added
  // tokens that contradict its pieces, and for a BOS or EOS that neither has.
  SentencePieceTokenizer(const std::string& model, const std::string& origin, const TokenizerConfig& config = {});
  ~SentencePieceTokenizer() override;

  core::Ids encode(std::string_view text) const override;
  core::Ids encode_behind_special(std::string_view text) const override;
  std::string decode(const core::Ids& ids) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(is_special_.size()); }
  std::optional<int64_t> special(std::string_view text) const override;
  std::vector<std::string> special_texts() const override;
  bool is_special(int64_t id) const override { return id >= 0 && id < vocab_size() && is_special_[static_cast<size_t>(id)]; }
  bool trims(int64_t id) const override { return trimming_.contains(id); }

 private:
  using Processor = sentencepiece::SentencePieceProcessor;
  enum class Blank { as_model, none };  // in front of a text

  void add_tokens(const TokenizerConfig& config, const std::string& origin);
  core::Ids encode_with_added(std::string_view text, Blank first) const;
  void encode_part(std::string_view text, Blank blank, core::Ids& ids) const;
  void append(const Processor& processor, std::string_view text, core::Ids& ids) const;

  std::unique_ptr<Processor> processor_;
  std::unique_ptr<Processor> without_blank_;  // the same model without a blank before a text; only if needed
  Blank behind_special_ = Blank::as_model;    // legacy: false gives none there
  bool keeps_blanks_ = false;                 // all of a text, and adds none before a blank, as transformers does
  std::vector<bool> is_special_;              // by id
  std::map<std::string, int64_t, std::less<>> specials_;
  std::vector<AddedToken> found_;              // added tokens that are found in text (not special), the longest first
  std::vector<std::string> spellable_;         // special tokens that the model itself would make from text
  std::set<int64_t> trimming_;                 // special ids that take the blanks around them
  std::map<int64_t, std::string> added_text_;  // by id, for ids that the model does not have
};

}  // namespace keel::data
