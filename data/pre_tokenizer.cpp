// The behaviour follows Hugging Face tokenizers (pre_tokenizers and normalizers), down to its treatment of adjacent matches.
#include "data/pre_tokenizer.h"

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "data/byte_alphabet.h"
#include "data/pattern.h"

namespace keel::data {
namespace {

// One pre-tokenizer: cuts a piece into pieces.
using Cutter = std::function<void(std::string piece, bool at_start, std::vector<std::string>& pieces)>;

constexpr const char* kGpt2Words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// {"String": ...} or {"Regex": ...}
Pattern parse_pattern(const nlohmann::json& pattern) {
  if (pattern.contains("String")) return Pattern::literal(pattern["String"].get<std::string>());
  return Pattern(pattern.at("Regex").get<std::string>());
}

enum class Behaviour { removed, isolated, with_previous, with_next, contiguous };

Behaviour parse_behaviour(const std::string& name) {
  if (name == "Removed") return Behaviour::removed;
  if (name == "Isolated") return Behaviour::isolated;
  if (name == "MergedWithPrevious") return Behaviour::with_previous;
  if (name == "MergedWithNext") return Behaviour::with_next;
  if (name == "Contiguous") return Behaviour::contiguous;
  throw std::invalid_argument("Split behavior '" + name + "' is not known");
}

struct Stretch {
  Span span;
  bool match;
};

// `text` as matches and the stretches between them. `invert` swaps the two.
std::vector<Stretch> stretches(const Pattern& pattern, std::string_view text, bool invert) {
  std::vector<Stretch> all;
  size_t reached = 0;
  for (const Span& match : pattern.matches(text)) {
    if (match.begin > reached) all.push_back({{reached, match.begin}, invert});
    all.push_back({match, !invert});
    reached = match.end;
  }
  if (reached < text.size()) all.push_back({{reached, text.size()}, invert});
  return all;
}

// Whether stretch i is joined to the one before it. A match joins its neighbour only if no other match has done so.
std::vector<bool> joins(const std::vector<Stretch>& all, Behaviour behaviour) {
  std::vector<bool> join(all.size(), false);
  if (behaviour == Behaviour::contiguous) {
    for (size_t i = 1; i < all.size(); ++i)
      join[i] = all[i].match == all[i - 1].match;
  } else if (behaviour == Behaviour::with_previous) {
    for (size_t i = 1; i < all.size(); ++i)
      join[i] = all[i].match && !all[i - 1].match;
  } else if (behaviour == Behaviour::with_next) {
    for (size_t i = 1; i < all.size(); ++i)
      join[i] = all[i - 1].match && !all[i].match;
  }
  return join;
}

void cut(const Pattern& pattern, Behaviour behaviour, bool invert, const std::string& piece, std::vector<std::string>& pieces) {
  const std::vector<Stretch> all = stretches(pattern, piece, invert);
  const std::vector<bool> join = joins(all, behaviour);
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string_view text = std::string_view(piece).substr(all[i].span.begin, all[i].span.end - all[i].span.begin);
    if (behaviour == Behaviour::removed && all[i].match) continue;
    if (join[i]) {
      pieces.back() += text;
    } else {
      pieces.emplace_back(text);
    }
  }
}

Cutter split_by(Pattern pattern, Behaviour behaviour, bool invert) {
  return [=, pattern = std::move(pattern)](const std::string& piece, bool, std::vector<std::string>& pieces) {
    cut(pattern, behaviour, invert, piece, pieces);
  };
}

Cutter byte_level(const nlohmann::json& part) {
  const bool add_blank = part.value("add_prefix_space", true);
  const bool use_pattern = part.value("use_regex", true);
  return [=, words = Pattern(kGpt2Words)](const std::string& piece, bool, std::vector<std::string>& pieces) {
    const std::string text = add_blank && !piece.starts_with(' ') ? ' ' + piece : piece;
    std::vector<std::string> found;
    if (use_pattern) {
      cut(words, Behaviour::isolated, false, text, found);
    } else {
      found.push_back(text);
    }
    for (const std::string& word : found)
      pieces.push_back(to_byte_alphabet(word));
  };
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const size_t found = from.empty() ? std::string_view::npos : text.find(from, at);
    result += text.substr(at, found - at);
    if (found == std::string_view::npos) break;
    result += to;
    at = found + from.size();
  }
  return result;
}

// "always" | "first" | "never"; older files have add_prefix_space instead.
std::string prepend_scheme(const nlohmann::json& part) {
  std::string scheme = part.value("prepend_scheme", part.value("add_prefix_space", true) ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    throw std::invalid_argument("prepend_scheme '" + scheme + "' is not known");
  }
  return scheme;
}

Cutter metaspace(const nlohmann::json& part) {
  const auto mark = part.at("replacement").get<std::string>();
  const std::string scheme = prepend_scheme(part);
  const bool cuts = part.value("split", true);
  return [=, marks = Pattern::literal(mark)](const std::string& piece, bool at_start, std::vector<std::string>& pieces) {
    std::string marked = replace_all(piece, " ", mark);
    if ((scheme == "always" || (scheme == "first" && at_start)) && !marked.starts_with(mark)) marked.insert(0, mark);
    if (cuts) {
      cut(marks, Behaviour::with_next, false, marked, pieces);
    } else {
      pieces.push_back(std::move(marked));
    }
  };
}

void collect_cutters(const nlohmann::json& part, std::vector<Cutter>& cutters, bool& finished) {
  if (part.is_null()) return;
  const auto type = part.at("type").get<std::string>();
  if (finished) throw std::invalid_argument("pre-tokenizer '" + type + "' after ByteLevel is not supported");
  if (type == "Sequence") {
    for (const auto& inner : part.at("pretokenizers"))
      collect_cutters(inner, cutters, finished);
  } else if (type == "Split") {
    cutters.push_back(
        split_by(parse_pattern(part.at("pattern")), parse_behaviour(part.at("behavior").get<std::string>()), part.value("invert", false)));
  } else if (type == "Digits") {
    cutters.push_back(
        split_by(Pattern(R"(\p{N})"), part.value("individual_digits", false) ? Behaviour::isolated : Behaviour::contiguous, false));
  } else if (type == "Metaspace") {
    cutters.push_back(metaspace(part));
  } else if (type == "ByteLevel") {
    cutters.push_back(byte_level(part));
    finished = true;
  } else {
    throw std::invalid_argument("pre-tokenizer '" + type + "' is not supported: Split, Digits, Metaspace and ByteLevel are");
  }
}

void collect_normalizers(const nlohmann::json& part, std::vector<Normalizer>& steps) {
  if (part.is_null()) return;
  const auto type = part.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const auto& inner : part.at("normalizers"))
      collect_normalizers(inner, steps);
  } else if (type == "Prepend") {
    steps.push_back(
        [start = part.at("prepend").get<std::string>()](const std::string& text) { return text.empty() ? text : start + text; });
  } else if (type == "Replace") {
    steps.push_back(
        [pattern = parse_pattern(part.at("pattern")), content = part.at("content").get<std::string>()](const std::string& text) {
          std::string result;
          for (const Stretch& stretch : stretches(pattern, text, false)) {
            result += stretch.match ? content : text.substr(stretch.span.begin, stretch.span.end - stretch.span.begin);
          }
          return result;
        });
  } else {
    throw std::invalid_argument("normalizer '" + type + "' is not supported: Prepend and Replace are");
  }
}

}  // namespace

Normalizer parse_normalizer(const nlohmann::json& part) {
  std::vector<Normalizer> steps;
  collect_normalizers(part, steps);
  return [steps = std::move(steps)](std::string text) {
    for (const Normalizer& step : steps)
      text = step(std::move(text));
    return text;
  };
}

PreTokenizer parse_pre_tokenizer(const nlohmann::json& part) {
  std::vector<Cutter> cutters;
  bool finished = false;
  collect_cutters(part, cutters, finished);
  return [cutters = std::move(cutters)](std::string text, bool at_start) {
    std::vector<std::string> pieces;
    if (!text.empty()) pieces.push_back(std::move(text));
    for (const Cutter& cutter : cutters) {
      std::vector<std::string> cut_pieces;
      for (size_t i = 0; i < pieces.size(); ++i)
        cutter(std::move(pieces[i]), at_start && i == 0, cut_pieces);
      pieces = std::move(cut_pieces);
    }
    return pieces;
  };
}

}  // namespace keel::data
