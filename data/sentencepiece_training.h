// Trains the tokenizer of models that start from random weights (the sandbox), with the settings of Llama's own tokenizer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace keel::data {

// Writes a SentencePiece BPE model of exactly `vocab_size` pieces: <unk> 0, <s> 1, </s> 2, <pad> 3 (a control piece), 256 byte-fallback
// pieces, every character of the texts, and merges. Digits stand alone, text is not normalised, lines are learnt separately (a newline is
// the byte piece <0x0A>). The same texts in the same order give the same file. Throws std::invalid_argument when the texts are too few or
// too varied for the size.
void train_sentencepiece(const std::vector<std::string>& texts, int64_t vocab_size, const std::filesystem::path& model);

}  // namespace keel::data
