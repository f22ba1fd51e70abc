// The decoders of tokenizer.json, after Hugging Face tokenizers (decoders).
#include "data/piece_decoder.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/utf8.h"
#include "data/byte_alphabet.h"

namespace keel::data {
namespace {

using Pieces = std::vector<std::string>;
using DecoderStep = std::function<void(Pieces& pieces)>;

void fuse_(Pieces& pieces) {
  std::string text;
  for (const std::string& piece : pieces)
    text += piece;
  pieces = {std::move(text)};
}

// The byte of a piece "<0x0A>", -1 for other pieces.
int byte_of(const std::string& piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece.back() != '>') return -1;
  int byte = -1;
  const auto [end, error] = std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
  return error == std::errc() && end == piece.data() + 5 ? byte : -1;
}

// A run of byte pieces becomes its text; if this is not UTF-8, each of its bytes becomes U+FFFD.
void join_bytes_(Pieces& pieces) {
  Pieces joined;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    if (core::find_invalid_utf8(run) == std::string_view::npos) {
      joined.push_back(run);
    } else {
      joined.insert(joined.end(), run.size(), "\xEF\xBF\xBD");
    }
    run.clear();
  };
  for (std::string& piece : pieces) {
    const int byte = byte_of(piece);
    if (byte >= 0) {
      run += static_cast<char>(byte);
    } else {
      flush();
      joined.push_back(std::move(piece));
    }
  }
  flush();
  pieces = std::move(joined);
}

// Pieces that are not written in the byte alphabet (added tokens) stand for themselves.
void spell_bytes_(Pieces& pieces) {
  std::string bytes;
  for (const std::string& piece : pieces)
    bytes += from_byte_alphabet(piece).value_or(piece);
  pieces = {core::repair_utf8(bytes)};
}

DecoderStep strip_step(const nlohmann::json& part) {
  const auto content = part.at("content").get<std::string>();
  const auto start = part.at("start").get<size_t>(), stop = part.at("stop").get<size_t>();
  if (content.empty()) throw std::invalid_argument("Strip needs a content");
  return [=](Pieces& pieces) {
    for (std::string& piece : pieces) {
      for (size_t i = 0; i < start && piece.starts_with(content); ++i)
        piece.erase(0, content.size());
      for (size_t i = 0; i < stop && piece.ends_with(content); ++i)
        piece.resize(piece.size() - content.size());
    }
  };
}

void replace_in_(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

DecoderStep replace_step(const nlohmann::json& part) {
  const auto from = part.at("pattern").at("String").get<std::string>(), to = part.at("content").get<std::string>();
  if (from.empty()) throw std::invalid_argument("Replace needs a pattern");
  return [=](Pieces& pieces) {
    for (std::string& piece : pieces)
      replace_in_(piece, from, to);
  };
}

// Removes from the first piece the blank that encoding put before the text.
DecoderStep metaspace_step(const nlohmann::json& part) {
  const auto mark = part.at("replacement").get<std::string>();
  if (mark.empty()) throw std::invalid_argument("Metaspace needs a replacement");
  const bool prepended = part.contains("prepend_scheme") ? part["prepend_scheme"] != "never" : part.value("add_prefix_space", true);
  return [=](Pieces& pieces) {
    if (prepended && !pieces.empty() && pieces.front().starts_with(mark)) pieces.front().erase(0, mark.size());
    for (std::string& piece : pieces)
      replace_in_(piece, mark, " ");
  };
}

void join_by_blanks_(Pieces& pieces) {
  for (size_t i = 1; i < pieces.size(); ++i)
    pieces[i].insert(0, 1, ' ');
}

void collect_decoders(const nlohmann::json& part, std::vector<DecoderStep>& steps) {
  if (part.is_null()) {
    steps.push_back(join_by_blanks_);
    return;
  }
  const auto type = part.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const auto& inner : part.at("decoders"))
      collect_decoders(inner, steps);
  } else if (type == "ByteLevel") {
    steps.push_back(spell_bytes_);
  } else if (type == "ByteFallback") {
    steps.push_back(join_bytes_);
  } else if (type == "Fuse") {
    steps.push_back(fuse_);
  } else if (type == "Strip") {
    steps.push_back(strip_step(part));
  } else if (type == "Replace") {
    steps.push_back(replace_step(part));
  } else if (type == "Metaspace") {
    steps.push_back(metaspace_step(part));
  } else {
    throw std::invalid_argument("decoder '" + type + "' is not supported: ByteLevel, ByteFallback, Fuse, Strip, Replace and Metaspace are");
  }
}

}  // namespace

Decoder parse_decoder(const nlohmann::json& part) {
  std::vector<DecoderStep> steps;
  collect_decoders(part, steps);
  return [steps = std::move(steps)](Pieces pieces) {
    for (const DecoderStep& step : steps)
      step(pieces);
    fuse_(pieces);
    return std::move(pieces.front());
  };
}

}  // namespace keel::data
