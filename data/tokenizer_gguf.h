// Tokenizers in the metadata of GGUF files (ggml, docs/gguf.md, "tokenizer.ggml.*"), as the files that a model directory holds.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/gguf.h"
#include "core/types.h"

namespace keel::data {

bool is_sentencepiece(const core::GgufFile& file);  // tokenizer.ggml.model "llama"; false: "gpt2"; DataError for others

// "llama": a serialised ModelProto. The pieces carry scores, by which libsentencepiece merges as it does for the original model.
std::string gguf_sentencepiece_model(const core::GgufFile& file);

// "gpt2": a tokenizer.json. The pre-tokenizer is the one that tokenizer.ggml.pre names; DataError for one that keel does not know,
// and where the file names none: the ids would be a guess.
nlohmann::json gguf_tokenizer_json(const core::GgufFile& file);

// Ids that end an answer besides the EOS: end of turn, end of message.
core::Ids gguf_stops(const core::GgufFile& file);

// For both models: a tokenizer_config.json with the special tokens, add_bos_token and the chat template.
nlohmann::json gguf_tokenizer_config(const core::GgufFile& file);

}  // namespace keel::data
