// The first parts of tokenizer.json: what happens to a text before its words are looked up in the vocabulary.
//
// A part of an unknown kind throws std::invalid_argument that names it; members of a wrong type throw nlohmann::json::exception.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace keel::data {

// "normalizer": null, Sequence, Prepend, Replace.
using Normalizer = std::function<std::string(std::string text)>;
Normalizer parse_normalizer(const nlohmann::json& part);

// "pre_tokenizer": null, Sequence, Split, Digits, Metaspace, ByteLevel (which ends in GPT-2's byte alphabet and so must come last).
// `at_start`: the text begins where the whole input begins.
using PreTokenizer = std::function<std::vector<std::string>(std::string text, bool at_start)>;
PreTokenizer parse_pre_tokenizer(const nlohmann::json& part);

}  // namespace keel::data
