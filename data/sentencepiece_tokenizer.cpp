#include "data/sentencepiece_tokenizer.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <stdexcept>

#include "core/error.h"
#include "core/utf8.h"

namespace keel::data {
namespace {

constexpr std::string_view kMark = "\xE2\x96\x81";  // the blank as a piece writes it

std::unique_ptr<sentencepiece::SentencePieceProcessor> load_processor(const std::string& model, const std::string& origin) {
  auto processor = std::make_unique<sentencepiece::SentencePieceProcessor>();
  const auto status = processor->LoadFromSerializedProto(model);
  if (!status.ok()) throw core::DataError(origin, 0, std::string("must be a SentencePiece model: ") + status.message());
  return processor;
}

// Appended to a ModelProto, these override the model's normalizer_spec (field 3) with add_dummy_prefix (its field 3) and
// remove_extra_whitespaces (field 4) = false.
constexpr std::string_view kKeepBlanks{"\x1A\x02\x20\x00", 4};
constexpr std::string_view kNoBlankInFront{"\x1A\x04\x18\x00\x20\x00", 6};

size_t first_character(std::string_view text) {
  size_t size = 1;
  while (size < text.size() && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80)
    ++size;
  return size;
}

}  // namespace

SentencePieceTokenizer::SentencePieceTokenizer(const std::string& model, const std::string& origin, const TokenizerConfig& config)
    : processor_(load_processor(model, origin)) {
  const int pieces = processor_->GetPieceSize();
  is_special_.resize(static_cast<size_t>(pieces));
  for (int id = 0; id < pieces; ++id) {
    if (!processor_->IsControl(id) && !processor_->IsUnknown(id)) continue;
    is_special_[static_cast<size_t>(id)] = true;
    specials_[processor_->IdToPiece(id)] = id;
  }
  add_tokens(config, origin);
  const auto choose = [&](const std::optional<std::string>& name, int id) -> std::optional<int64_t> {
    if (const auto found = name ? specials_.find(*name) : specials_.end(); found != specials_.end()) return found->second;
    return id < 0 ? std::nullopt : std::optional<int64_t>(id);
  };
  bos_ = choose(config.bos, processor_->bos_id());
  eos_ = choose(config.eos, processor_->eos_id());
  pad_ = choose(config.pad, processor_->pad_id());
  if (config.add_bos.value_or(true)) start_ = bos_;

  // A config with `legacy` follows transformers: all blanks of a text stay, and a text that begins with a blank gets no other. Without it
  // the reference is SentencePiece itself.
  const bool bare = !config.add_prefix_space.value_or(true);
  keeps_blanks_ = config.legacy.has_value();
  if (keeps_blanks_ || bare) processor_ = load_processor(model + std::string(bare ? kNoBlankInFront : kKeepBlanks), origin);
  if (keeps_blanks_ || !spellable_.empty()) without_blank_ = load_processor(model + std::string(kNoBlankInFront), origin);
  if (config.legacy == false) behind_special_ = Blank::none;
}

SentencePieceTokenizer::~SentencePieceTokenizer() = default;

void SentencePieceTokenizer::add_tokens(const TokenizerConfig& config, const std::string& origin) {
  const auto pieces = static_cast<int64_t>(is_special_.size());
  const auto piece_id = [&](const std::string& text) -> std::optional<int64_t> {
    const int id = processor_->PieceToId(text);
    if (id < 0 || processor_->IdToPiece(id) != text) return std::nullopt;
    return id;
  };
  const auto make_special = [&](const std::string& text, int64_t id) {
    if (is_special_[static_cast<size_t>(id)]) return;
    is_special_[static_cast<size_t>(id)] = true;
    specials_[text] = id;
    if (id < pieces) spellable_.push_back(text);
  };
  for (const AddedToken& token : config.added) {
    const auto own = piece_id(token.text);
    if (token.id < pieces && processor_->IdToPiece(static_cast<int>(token.id)) != token.text)
      throw core::DataError(config.origin, 0,
                            fmt::format("the added token '{}' has the id {}, which is the piece '{}' of {}: one of them is wrong",
                                        token.text, token.id, processor_->IdToPiece(static_cast<int>(token.id)), origin));
    if (own && *own != token.id)
      throw core::DataError(config.origin, 0,
                            fmt::format("the added token '{}' has the id {}, but {} has it as piece {}: one of them is wrong", token.text,
                                        token.id, origin, *own));
    if (token.id >= std::ssize(is_special_)) is_special_.resize(static_cast<size_t>(token.id) + 1);
    if (token.id >= pieces) added_text_[token.id] = token.text;
    if (token.special) {
      make_special(token.text, token.id);
      if (token.trims) trimming_.insert(token.id);
    } else if (token.trims) {
      throw core::DataError(
          config.origin, 0,
          fmt::format("the added token '{}' asks for lstrip, rstrip or single_word, which is supported for special tokens alone",
                      token.text));
    } else if (!is_special_[static_cast<size_t>(token.id)] && !token.text.empty()) {
      found_.push_back(token);
    }
  }
  std::stable_sort(found_.begin(), found_.end(), [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
  std::vector<std::string> named = config.special;
  for (const auto& name : {config.bos, config.eos, config.pad})
    if (name) named.push_back(*name);
  for (const std::string& text : named)
    if (const auto id = piece_id(text)) make_special(text, *id);
  check_named_tokens(config, origin, [&](const std::string& text) { return specials_.contains(text); });
}

void SentencePieceTokenizer::append(const Processor& processor, std::string_view text, core::Ids& ids) const {
  std::vector<int> made;
  const auto status = processor.Encode({text.data(), text.size()}, &made);
  if (!status.ok()) throw std::runtime_error(std::string("[data.sentencepiece] encoding failed: ") + status.message());
  ids.insert(ids.end(), made.begin(), made.end());
}

// A special token that the model could spell in one piece is cut after its first character, so that text never becomes this token.
void SentencePieceTokenizer::encode_part(std::string_view text, Blank blank, core::Ids& ids) const {
  if (keeps_blanks_ && (text.starts_with(' ') || text.starts_with(kMark))) blank = Blank::none;
  for (;;) {
    size_t cut = std::string_view::npos;
    for (const std::string& special : spellable_)
      if (const size_t found = text.find(special); found != std::string_view::npos) cut = std::min(cut, found + first_character(special));
    append(blank == Blank::none ? *without_blank_ : *processor_, text.substr(0, cut), ids);
    if (cut == std::string_view::npos || cut >= text.size()) return;
    text.remove_prefix(cut);
    blank = Blank::none;
  }
}

core::Ids SentencePieceTokenizer::encode_with_added(std::string_view text, Blank blank) const {
  core::require_utf8(text);
  core::Ids ids;
  size_t begin = 0;
  for (size_t at = 0; at < text.size() && !found_.empty();) {
    const auto token = std::find_if(found_.begin(), found_.end(), [&](const auto& one) { return text.substr(at).starts_with(one.text); });
    if (token == found_.end()) {
      ++at;
      continue;
    }
    if (at > begin) encode_part(text.substr(begin, at - begin), blank, ids);
    ids.push_back(token->id);
    begin = at += token->text.size();
    blank = behind_special_;
  }
  if (begin < text.size() || text.empty()) encode_part(text.substr(begin), blank, ids);
  return ids;
}

core::Ids SentencePieceTokenizer::encode(std::string_view text) const {
  return encode_with_added(text, Blank::as_model);
}

core::Ids SentencePieceTokenizer::encode_behind_special(std::string_view text) const {
  return encode_with_added(text, behind_special_);
}

std::string SentencePieceTokenizer::decode(const core::Ids& ids) const {
  std::string text;
  std::vector<int> run;
  const auto flush = [&](bool first) {
    if (run.empty()) return;
    std::string part;
    const Processor& processor = first || behind_special_ == Blank::as_model ? *processor_ : *without_blank_;
    const auto status = processor.Decode(run, &part);
    if (!status.ok()) throw std::runtime_error(std::string("[data.sentencepiece] decoding failed: ") + status.message());
    text += part;
    run.clear();
  };
  bool first = true;
  for (const int64_t id : ids) {
    if (id < 0 || id >= vocab_size()) throw std::out_of_range(fmt::format("ids must be 0..{}, got {}", vocab_size() - 1, id));
    if (is_special_[static_cast<size_t>(id)]) continue;
    if (id < processor_->GetPieceSize()) {
      run.push_back(static_cast<int>(id));
      continue;
    }
    flush(std::exchange(first, false));
    if (const auto added = added_text_.find(id); added != added_text_.end()) text += added->second;
  }
  flush(first);
  return text;
}

std::optional<int64_t> SentencePieceTokenizer::special(std::string_view text) const {
  const auto found = specials_.find(text);
  return found == specials_.end() ? std::nullopt : std::optional<int64_t>(found->second);
}

std::vector<std::string> SentencePieceTokenizer::special_texts() const {
  std::vector<std::string> texts;
  for (const auto& [text, id] : specials_)
    texts.push_back(text);
  return texts;
}

}  // namespace keel::data
