#include "data/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "data/bpe_tokenizer.h"

namespace keel::data {
namespace {

// Runs `read` on one part of the document; any error becomes a DataError that names the part.
template <class Read>
auto read_part(const std::string& origin, const std::string& name, Read read) {
  try {
    return read();
  } catch (const nlohmann::json::exception& error) {
    throw core::DataError(origin, 0, fmt::format("'{}' of tokenizer.json has a wrong form: {}", name, error.what()));
  } catch (const std::invalid_argument& error) {
    throw core::DataError(origin, 0, fmt::format("'{}' of tokenizer.json: {}", name, error.what()));
  }
}

int64_t read_id(const nlohmann::json& value) {
  if (!value.is_number_integer()) throw std::invalid_argument("ids must be integers, got " + value.dump());
  const auto id = value.get<int64_t>();
  if (id < 0 || id >= kLargestVocabulary)
    throw std::invalid_argument(fmt::format("ids must be 0..{}, got {}", kLargestVocabulary - 1, value.dump()));
  return id;
}

bool is_unset(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() || (found->is_string() && found->get_ref<const std::string&>().empty()) || *found == 0.0;
}

const nlohmann::json& member(const nlohmann::json& object, const char* key) {
  static const nlohmann::json kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::vector<AddedToken> read_added_tokens(const nlohmann::json& list) {
  std::vector<AddedToken> added;
  if (list.is_null()) return added;
  if (!list.is_array()) throw std::invalid_argument("must be an array");
  for (const auto& item : list) {
    AddedToken token = parse_added_token(item, read_id(item.at("id")));
    if (token.text.empty()) throw std::invalid_argument(fmt::format("token {} has no text", token.id));
    if (token.trims && !token.special) {
      throw std::invalid_argument(
          fmt::format("'{}' asks for lstrip, rstrip or single_word, which is supported for special tokens alone", token.text));
    }
    added.push_back(std::move(token));
  }
  return added;
}

Vocabulary read_vocabulary(const nlohmann::json& object) {
  if (!object.is_object()) throw std::invalid_argument("vocab must be an object");
  Vocabulary vocabulary;
  std::unordered_set<int64_t> ids;
  for (const auto& [piece, value] : object.items()) {
    const int64_t id = read_id(value);
    if (!ids.insert(id).second) throw std::invalid_argument(fmt::format("id {} stands for two pieces, one of them '{}'", id, piece));
    vocabulary[piece] = id;
  }
  return vocabulary;
}

// A merge is written as "left right" or ["left", "right"].
std::pair<std::string, std::string> read_merge(const nlohmann::json& item) {
  if (item.is_array()) {
    if (item.size() != 2) throw std::invalid_argument("a merge must name two pieces, got " + item.dump());
    return {item[0].get<std::string>(), item[1].get<std::string>()};
  }
  const auto text = item.get<std::string>();
  const size_t blank = text.find(' ');
  if (blank == std::string::npos || text.find(' ', blank + 1) != std::string::npos) {
    throw std::invalid_argument("a merge must be two pieces with a blank between, got '" + text + "'");
  }
  return {text.substr(0, blank), text.substr(blank + 1)};
}

std::vector<BpeMerge> read_merges(const nlohmann::json& list, const Vocabulary& vocabulary) {
  if (!list.is_array()) throw std::invalid_argument("merges must be an array");
  std::vector<BpeMerge> merges;
  const auto id_of = [&](const std::string& piece) {
    const auto found = vocabulary.find(piece);
    if (found == vocabulary.end()) throw std::invalid_argument(fmt::format("merge {} names '{}', which is no piece", merges.size(), piece));
    return found->second;
  };
  for (const auto& item : list) {
    const auto [left, right] = read_merge(item);
    merges.push_back({id_of(left), id_of(right), id_of(left + right)});
  }
  return merges;
}

Bpe read_model(const nlohmann::json& model, const std::vector<AddedToken>& added) {
  if (!model.is_object()) throw std::invalid_argument("must be an object");
  if (const auto type = model.value("type", "BPE"); type != "BPE")
    throw std::invalid_argument("type '" + type + "' is not supported: BPE is");
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!is_unset(model, key)) throw std::invalid_argument(std::string(key) + " is not supported");
  }
  Vocabulary vocabulary = read_vocabulary(model.at("vocab"));
  std::vector<BpeMerge> merges = read_merges(model.at("merges"), vocabulary);
  BpeOptions options{.unknown = {},
                     .fuse_unknown = model.value("fuse_unk", false),
                     .byte_fallback = model.value("byte_fallback", false),
                     .whole_words = model.value("ignore_merges", false)};
  if (!is_unset(model, "unk_token")) {
    const auto unknown = vocabulary.find(model["unk_token"].get<std::string>());
    if (unknown == vocabulary.end()) throw std::invalid_argument("unk_token is no piece");
    options.unknown = unknown->second;
  }
  // Text must never become a special token: neither as a character, nor as a word, nor by merging.
  std::unordered_set<int64_t> special;
  for (const AddedToken& token : added) {
    if (!token.special) continue;
    vocabulary.erase(token.text);
    special.insert(token.id);
  }
  std::erase_if(merges, [&](const BpeMerge& merge) { return special.contains(merge.result); });
  return {std::move(vocabulary), merges, options};
}

std::vector<std::string> pieces_by_id(const nlohmann::json& vocabulary, const std::vector<AddedToken>& added) {
  std::vector<std::string> pieces;
  const auto put = [&](int64_t id, const std::string& piece) {
    const auto place = static_cast<size_t>(id);
    if (place >= pieces.size()) pieces.resize(place + 1);
    pieces[place] = piece;
  };
  for (const auto& [piece, id] : vocabulary.items())
    put(id.get<int64_t>(), piece);
  for (const AddedToken& token : added)
    put(token.id, token.text);
  return pieces;
}

// The ids that the post-processor puts around a text.
struct Surround {
  std::optional<std::string> start;  // text of the special token before it
  std::optional<int64_t> start_id;
  bool ends = false;  // a special token after it
};

Surround parse_post_processor(const nlohmann::json& part) {
  Surround surround;
  if (part.is_null()) return surround;
  const auto type = part.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const auto& inner : part.at("processors")) {
      const Surround found = parse_post_processor(inner);
      if (found.start) surround.start = found.start, surround.start_id = found.start_id;
      surround.ends |= found.ends;
    }
    return surround;
  }
  if (type == "ByteLevel") return surround;  // changes offsets only
  if (type != "TemplateProcessing") throw std::invalid_argument("'" + type + "' is not supported: TemplateProcessing and ByteLevel are");
  const auto& single = part.at("single");
  if (!single.is_array()) throw std::invalid_argument("'single' must be an array");
  bool text_seen = false;
  for (const auto& item : single) {
    if (!item.contains("SpecialToken")) {
      text_seen = true;
      continue;
    }
    if (text_seen) {
      surround.ends = true;
    } else if (surround.start) {
      throw std::invalid_argument("a template that begins with two special tokens is not supported");
    } else {
      surround.start = item["SpecialToken"].at("id").get<std::string>();
      const auto& ids = part.at("special_tokens").at(*surround.start).at("ids");
      if (!ids.is_array() || ids.size() != 1)
        throw std::invalid_argument(fmt::format("'{}' must be one id in 'special_tokens'", *surround.start));
      surround.start_id = read_id(ids[0]);
    }
  }
  return surround;
}

// Tokens in the companion files that tokenizer.json does not have.
void add_configured_(std::vector<AddedToken>& added, const TokenizerConfig& config, const nlohmann::json& vocabulary) {
  std::unordered_set<int64_t> taken;
  for (const auto& item : vocabulary.items())
    taken.insert(item.value().is_number_integer() ? item.value().get<int64_t>() : -1);
  for (const AddedToken& token : config.added) {
    const auto same = [&](const AddedToken& other) { return other.text == token.text || other.id == token.id; };
    const auto found = std::find_if(added.begin(), added.end(), same);
    const bool own = vocabulary.is_object() && vocabulary.contains(token.text);
    const bool agrees = found != added.end() ? found->text == token.text && found->id == token.id
                        : own                ? vocabulary[token.text] == token.id
                                             : !taken.contains(token.id);
    if (!agrees)
      throw core::DataError(
          config.origin, 0,
          fmt::format("the added token '{}' has the id {}, which tokenizer.json does not agree with: one of them is wrong", token.text,
                      token.id));
    if (found == added.end() && (!own || token.special)) {
      if (token.trims && !token.special)
        throw core::DataError(
            config.origin, 0,
            fmt::format("the added token '{}' asks for lstrip, rstrip or single_word, which is supported for special tokens alone",
                        token.text));
      added.push_back(token);
    }
  }
}

// Tokens named by the config and the tags of chat formats are special, whatever tokenizer.json says.
void add_named_(std::vector<AddedToken>& added, const TokenizerConfig& config, const nlohmann::json& vocabulary) {
  std::vector<std::string> names = config.special;
  for (const auto& named : {config.bos, config.eos, config.pad})
    if (named) names.push_back(*named);
  for (const std::string& name : names) {
    const auto found = std::find_if(added.begin(), added.end(), [&](const AddedToken& token) { return token.text == name; });
    if (found != added.end()) {
      found->special = true;
    } else if (vocabulary.is_object() && vocabulary.contains(name)) {
      added.push_back({.text = name, .id = read_id(vocabulary[name]), .special = true});
    }
  }
  for (AddedToken& token : added)
    if (token.text == "<|im_start|>" || token.text == "<|im_end|>") token.special = true;
}

// Whether text is cut with a blank in front, and whether text behind a special token is too, is said by the parts of a tokenizer.json.
// transformers 5 lets the keys of a LlamaTokenizer's config decide instead.
void warn_of_blanks(const nlohmann::json& document, const TokenizerConfig& config) {
  const std::string parts = member(document, "normalizer").dump() + member(document, "pre_tokenizer").dump();
  const auto has = [&](std::string_view text) { return parts.find(text) != std::string::npos; };
  const bool every = has("\"Prepend\"") || has("\"prepend_scheme\":\"always\"");
  const bool front = every || has("\"prepend_scheme\":\"first\"") || has("\"add_prefix_space\":true");
  std::string unused;
  if (config.add_prefix_space && *config.add_prefix_space != front) unused = fmt::format("add_prefix_space = {}", *config.add_prefix_space);
  if (config.legacy == false && every) unused += unused.empty() ? "legacy = false" : ", legacy = false";
  if (!unused.empty())
    core::log_warn_once(fmt::format(
        "{}: {} is not applied to tokenizer.json, whose own parts decide about blanks as in the library tokenizers; transformers 5 "
        "applies it, and its ids may differ at blanks and behind special tokens",
        config.origin, unused));
}

// The first of `names` that is a special token.
std::optional<int64_t> first_special(const std::vector<AddedToken>& added, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    for (const AddedToken& token : added) {
      if (token.special && token.text == name) return token.id;
    }
  }
  return std::nullopt;
}

}  // namespace

std::unique_ptr<Tokenizer> tokenizer_from_json(const nlohmann::json& document, const TokenizerConfig& config, const std::string& origin) {
  if (!document.is_object() || !document.contains("model"))
    throw core::DataError(origin, 0, "must be a tokenizer.json: an object with 'model'");
  const auto part = [&](const char* name, auto parse) { return read_part(origin, name, [&] { return parse(member(document, name)); }); };
  std::vector<AddedToken> added = part("added_tokens", read_added_tokens);
  part("model", [&](const nlohmann::json& model) {
    add_configured_(added, config, member(model, "vocab"));
    add_named_(added, config, member(model, "vocab"));
    return true;
  });
  check_named_tokens(config, origin, [&](const std::string& text) { return first_special(added, {text}).has_value(); });
  Bpe bpe = part("model", [&](const nlohmann::json& model) { return read_model(model, added); });
  auto pieces = pieces_by_id(document["model"]["vocab"], added);
  BpeParts parts{.pieces = std::move(pieces),
                 .added = std::move(added),
                 .normalize = part("normalizer", parse_normalizer),
                 .cut = part("pre_tokenizer", parse_pre_tokenizer),
                 .bpe = std::move(bpe),
                 .decode = part("decoder", parse_decoder)};
  const Surround surround = part("post_processor", parse_post_processor);
  const std::optional<std::string>& start = surround.start;
  warn_of_blanks(document, config);
  if (surround.ends)
    core::log_warn_once(
        fmt::format("{}: the post_processor puts a special token behind a text, which is not applied: raw text gets no EOS, documents and "
                    "answers always end "
                    "with it",
                    origin));

  // Named by the config, else by the template, else by common names: a bare tokenizer.json does not say what its special tokens are for.
  const auto choose = [&](const std::optional<std::string>& named, std::vector<std::string> custom) {
    if (named) custom.insert(custom.begin(), *named);
    return first_special(parts.added, custom);
  };
  const auto bos = choose(config.bos ? config.bos : start, {"<s>", "<|begin_of_text|>"});
  const auto eos = choose(config.eos, {"</s>", "<|end_of_text|>", "<|endoftext|>"});
  const auto pad = choose(config.pad, {"<pad>"});
  const auto first = config.add_bos.value_or(start.has_value()) ? (start ? surround.start_id : bos) : std::nullopt;
  if (first && (*first < 0 || *first >= std::ssize(parts.pieces)))
    throw core::DataError(origin, 0, fmt::format("post_processor: the id {} is no token", *first));
  return std::make_unique<BpeTokenizer>(std::move(parts), bos, eos, pad, first);
}

}  // namespace keel::data
