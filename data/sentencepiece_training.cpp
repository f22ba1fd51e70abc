#include "data/sentencepiece_training.h"

#include <sentencepiece_trainer.h>

#include <stdexcept>
#include <string_view>

#include "core/files.h"
#include "core/utf8.h"

namespace keel::data {
namespace {

class LineIterator : public sentencepiece::SentenceIterator {
 public:
  explicit LineIterator(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return next_ >= lines_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return lines_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  size_t next_ = 0;
};

std::vector<std::string> lines_of(const std::vector<std::string>& texts) {
  std::vector<std::string> lines;
  for (const std::string_view text : texts) {
    core::require_utf8(text);
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      if (end > begin) lines.emplace_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  return lines;
}

}  // namespace

void train_sentencepiece(const std::vector<std::string>& texts, int64_t vocab_size, const std::filesystem::path& model) {
  const std::vector<std::string> lines = lines_of(texts);
  LineIterator iterator(lines);
  std::string serialised;
  const auto status = sentencepiece::SentencePieceTrainer::Train({{"model_type", "bpe"},
                                                                  {"vocab_size", std::to_string(vocab_size)},
                                                                  {"byte_fallback", "true"},
                                                                  {"split_digits", "true"},
                                                                  {"allow_whitespace_only_pieces", "true"},
                                                                  {"normalization_rule_name", "identity"},
                                                                  {"remove_extra_whitespaces", "false"},
                                                                  {"character_coverage", "1.0"},
                                                                  {"unk_id", "0"},
                                                                  {"bos_id", "1"},
                                                                  {"eos_id", "2"},
                                                                  {"pad_id", "3"},
                                                                  {"pad_piece", "<pad>"},
                                                                  {"max_sentence_length", "1000000000"},  // longer ones would be left out
                                                                  {"num_threads", "1"},
                                                                  {"minloglevel", "3"}},
                                                                 &iterator, &serialised);
  if (!status.ok()) {
    throw std::invalid_argument("[data.sentencepiece] no vocabulary of " + std::to_string(vocab_size) + " pieces from " +
                                std::to_string(lines.size()) + " lines: " + status.message());
  }
  core::write_file(model, serialised);
}

}  // namespace keel::data
