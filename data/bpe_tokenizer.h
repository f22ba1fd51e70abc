// A tokenizer.json of model BPE: byte-level (GPT-2, SmolLM2, Llama 3) or metaspace with byte fallback (Llama 2 and its kin).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/bpe.h"
#include "data/piece_decoder.h"
#include "data/pre_tokenizer.h"
#include "data/tokenizer.h"
#include "data/tokenizer_config.h"

namespace keel::data {

// Words that are looked for in a text, by their first byte; the longest first.
using WordList = std::array<std::vector<std::pair<std::string, int64_t>>, 256>;

struct BpeParts {
  std::vector<std::string> pieces;  // by id, added tokens included; "" where an id has none
  std::vector<AddedToken> added;
  Normalizer normalize;
  PreTokenizer cut;
  Bpe bpe;
  Decoder decode;
};

// Added tokens that are not special are found in text before everything else, the longest first; special ones never are.
class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(BpeParts parts, std::optional<int64_t> bos, std::optional<int64_t> eos, std::optional<int64_t> pad,
               std::optional<int64_t> start);

  core::Ids encode(std::string_view text) const override { return encode_at(text, true); }
  core::Ids encode_behind_special(std::string_view text) const override { return encode_at(text, false); }
  std::string decode(const core::Ids& ids) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(parts_.pieces.size()); }
  std::optional<int64_t> special(std::string_view text) const override;
  std::vector<std::string> special_texts() const override;
  bool is_special(int64_t id) const override { return id >= 0 && id < vocab_size() && is_special_[static_cast<size_t>(id)]; }
  bool trims(int64_t id) const override;

 private:
  core::Ids encode_at(std::string_view text, bool at_start) const;

  BpeParts parts_;
  std::vector<bool> is_special_;  // by id
  Vocabulary specials_;
  WordList found_raw_, found_normal_;  // added tokens found before and after normalisation
};

}  // namespace keel::data
