// Byte-pair encoding by the rank of merges (Sennrich et al. 2016, arXiv 1508.07909): the earliest merge of the list is applied first,
// equal ones from left to right.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/types.h"

namespace keel::data {

struct TextHash : std::hash<std::string_view> {
  using is_transparent = void;
};
using Vocabulary = std::unordered_map<std::string, int64_t, TextHash, std::equal_to<>>;  // piece to id

struct BpeMerge {
  int64_t left, right, result;  // ids
};

struct BpeOptions {
  std::optional<int64_t> unknown = {};  // id for characters outside the vocabulary; without one they are left out
  bool fuse_unknown = false;            // one id for a run of them
  bool byte_fallback = false;           // first try the pieces <0x00> .. <0xFF>
  bool whole_words = false;             // a word in the vocabulary becomes that piece without merges ("ignore_merges")
};

class Bpe {
 public:
  // `vocabulary` holds only the pieces that text can become. Ids must be below 2^31.
  Bpe(Vocabulary vocabulary, const std::vector<BpeMerge>& merges, const BpeOptions& options);

  // Appends the ids of one word of valid UTF-8; O(n log n) in its length.
  void encode(std::string_view word, core::Ids& ids) const;

 private:
  struct Merged {
    int64_t rank, result;
  };
  core::Ids characters(std::string_view word) const;
  void merge_(core::Ids& ids) const;
  const Merged* find(int64_t left, int64_t right) const;

  Vocabulary vocabulary_;
  std::unordered_map<uint64_t, Merged> merges_;  // by (left, right)
  BpeOptions options_;
  std::vector<int64_t> byte_ids_;  // by byte; -1 where the vocabulary has no such piece
};

}  // namespace keel::data
