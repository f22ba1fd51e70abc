#include "data/sentencepiece_tokenizer.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <stdexcept>

#include "core/error.h"
#include "core/utf8.h"

namespace keel::data {

SentencePieceTokenizer::SentencePieceTokenizer(const std::string& model, const std::string& origin, const TokenizerConfig& config)
    : processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  const auto status = processor_->LoadFromSerializedProto(model);
  if (!status.ok()) throw core::DataError(origin, 0, std::string("must be a SentencePiece model: ") + status.message());
  const int pieces = processor_->GetPieceSize();
  is_special_.resize(static_cast<size_t>(pieces));
  for (int id = 0; id < pieces; ++id) {
    if (!processor_->IsControl(id) && !processor_->IsUnknown(id)) continue;
    is_special_[static_cast<size_t>(id)] = true;
    specials_[processor_->IdToPiece(id)] = id;
  }
  const auto choose = [&](const std::optional<std::string>& name, int id) -> std::optional<int64_t> {
    if (name && SentencePieceTokenizer::special(*name)) return SentencePieceTokenizer::special(*name);  // no virtual call in a constructor
    return id < 0 ? std::nullopt : std::optional<int64_t>(id);
  };
  bos_ = choose(config.bos, processor_->bos_id());
  eos_ = choose(config.eos, processor_->eos_id());
  pad_ = choose(config.pad, processor_->pad_id());
  adds_bos_ = bos_ && config.add_bos.value_or(true);
}

SentencePieceTokenizer::~SentencePieceTokenizer() = default;

core::Ids SentencePieceTokenizer::encode(std::string_view text) const {
  core::require_utf8(text);
  std::vector<int> ids;
  const auto status = processor_->Encode({text.data(), text.size()}, &ids);
  if (!status.ok()) throw std::runtime_error(std::string("[data.sentencepiece] encoding failed: ") + status.message());
  return {ids.begin(), ids.end()};
}

std::string SentencePieceTokenizer::decode(const core::Ids& ids) const {
  std::vector<int> ordinary;
  for (const int64_t id : ids) {
    if (id < 0 || id >= vocab_size()) throw std::out_of_range(fmt::format("ids must be 0..{}, got {}", vocab_size() - 1, id));
    if (!is_special_[static_cast<size_t>(id)]) ordinary.push_back(static_cast<int>(id));
  }
  std::string text;
  const auto status = processor_->Decode(ordinary, &text);
  if (!status.ok()) throw std::runtime_error(std::string("[data.sentencepiece] decoding failed: ") + status.message());
  return text;
}

std::optional<int64_t> SentencePieceTokenizer::special(std::string_view text) const {
  const auto found = specials_.find(std::string(text));
  return found == specials_.end() ? std::nullopt : std::optional<int64_t>(found->second);
}

}  // namespace keel::data
