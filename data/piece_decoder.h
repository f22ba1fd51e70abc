// The last part of tokenizer.json: how pieces become text again.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace keel::data {

// Throws std::invalid_argument for a decoder of an unknown kind, nlohmann::json::exception for members of a wrong type.
//
// "decoder": null (pieces joined by blanks), Sequence, ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip. Gives valid UTF-8.
using Decoder = std::function<std::string(std::vector<std::string> pieces)>;
Decoder parse_decoder(const nlohmann::json& part);

}  // namespace keel::data
