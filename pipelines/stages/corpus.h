// Pretraining documents as ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/types.h"
#include "data/chat_format.h"
#include "data/tokenizer.h"
#include "policy/pretrain.h"

namespace keel::pipelines::stages {

// Every id is a target; each source (a row's "source", else "text") with its share of the sequences.
struct Corpus {
  std::vector<core::TokenSequence> sequences;
  std::map<std::string, policy::Source> sources;
};

// Rows {"text"} or {"messages"} of a file, in pieces of at most `row_tokens`. `counts` gets what was read, by the file's name. DataError
// for malformed rows, and where nothing is left.
Corpus read_corpus(const std::filesystem::path& file, data::ChatFormat format, const data::Tokenizer& tokenizer, int64_t row_tokens,
                   data::TagPolicy tags, nlohmann::json& counts);

}  // namespace keel::pipelines::stages
