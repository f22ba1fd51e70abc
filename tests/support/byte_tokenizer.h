// A tokenizer whose ids can be read: one id a byte, a few merges on request, the usual special ids behind them.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace keel::test {

class ByteTokenizer : public data::Tokenizer {
 public:
  static constexpr int64_t kBos = 256, kEos = 257, kMessageStart = 258, kMessageEnd = 259, kFirstMerge = 260;

  explicit ByteTokenizer(std::vector<std::string> merges = {}, bool adds_bos = true) : merges_(std::move(merges)) {
    bos_ = kBos;
    eos_ = kEos;
    if (adds_bos) start_ = kBos;
  }

  core::Ids encode(std::string_view text) const override {
    core::Ids ids;
    while (!text.empty()) {
      const auto merge = std::find_if(merges_.begin(), merges_.end(), [&](const std::string& piece) { return text.starts_with(piece); });
      const bool merged = merge != merges_.end();
      ids.push_back(merged ? kFirstMerge + (merge - merges_.begin()) : static_cast<unsigned char>(text[0]));
      text.remove_prefix(merged ? merge->size() : 1);
    }
    return ids;
  }

  std::string decode(const core::Ids& ids) const override {
    std::string text;
    for (const int64_t id : ids)
      text += id >= kBos && id < kFirstMerge ? "" : piece(id);
    return text;
  }

  int64_t vocab_size() const override { return kFirstMerge + std::ssize(merges_); }
  std::optional<int64_t> special(std::string_view text) const override {
    if (text == "<|im_start|>") return kMessageStart;
    if (text == "<|im_end|>") return kMessageEnd;
    return std::nullopt;
  }
  std::vector<std::string> special_texts() const override { return {"<|im_start|>", "<|im_end|>"}; }

  std::string piece(int64_t id) const {
    static const std::vector<std::string> specials = {"<s>", "</s>", "<start>", "<end>"};
    if (id < kBos) return std::string(1, static_cast<char>(id));
    if (id < kFirstMerge) return specials[static_cast<size_t>(id - kBos)];
    return merges_.at(static_cast<size_t>(id - kFirstMerge));
  }

  // A sequence as text: special ids as <s> </s> <start> <end>, targets of the loss in braces.
  std::string show(const core::TokenSequence& sequence) const {
    if (sequence.ids.size() != sequence.loss_mask.size()) throw std::logic_error("ids and mask differ in length");
    std::string text;
    bool open = false;
    for (size_t i = 0; i < sequence.ids.size(); ++i) {
      if (sequence.loss_mask[i] != open) text += open ? "}" : "{";
      open = sequence.loss_mask[i];
      text += piece(sequence.ids[i]);
    }
    return open ? text + "}" : text;
  }

 private:
  std::vector<std::string> merges_;
};

// A tokenizer with nothing but its bytes.
class BareTokenizer : public ByteTokenizer {
 public:
  BareTokenizer() : ByteTokenizer({}, false) {
    bos_.reset();
    eos_.reset();
  }
  std::optional<int64_t> special(std::string_view) const override { return std::nullopt; }
};

}  // namespace keel::test
