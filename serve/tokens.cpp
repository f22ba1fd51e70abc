#include "serve/tokens.h"

#include <map>

#include "core/error.h"
#include "data/chat_format.h"

namespace keel::serve {
namespace {

using dialects::Refused;
using dialects::Trouble;

constexpr size_t kMostBetween = 16;  // bytes of a text that the ids between two placed ones may stand for, each

std::map<int64_t, std::string> special_texts(const data::Tokenizer& tokenizer) {
  std::map<int64_t, std::string> texts;
  for (const auto& text : tokenizer.special_texts())
    if (const auto id = tokenizer.special(text)) texts.emplace(*id, text);
  if (tokenizer.bos()) texts.emplace(*tokenizer.bos(), "<s>");
  if (tokenizer.eos()) texts.emplace(*tokenizer.eos(), "</s>");
  return texts;
}

}  // namespace

std::vector<dialects::Token> placed_tokens(const data::Tokenizer& tokenizer, const core::Ids& ids, std::string_view text) {
  const core::Ids before = tokenizer.encode("a");  // decoders drop a blank at the start of a text
  const size_t skipped = tokenizer.decode(before).size();
  const auto specials = special_texts(tokenizer);
  std::vector<dialects::Token> tokens;
  size_t at = 0, between = 0;                                 // `between`: the last ids, which have no place yet
  const auto place_between = [&](size_t begin, size_t end) {  // parts of one character, say, share what lies there
    for (size_t i = tokens.size() - between; begin < end && i < tokens.size(); ++i)
      tokens[i] = {.id = tokens[i].id,
                   .text = std::string(text.substr(begin, end - begin)),
                   .begin = static_cast<int64_t>(begin),
                   .end = static_cast<int64_t>(end)};
    between = 0;
  };
  for (const int64_t id : ids) {
    dialects::Token token{.id = id, .text = {}, .special = tokenizer.is_special(id)};
    if (token.special) {
      if (const auto known = specials.find(id); known != specials.end()) token.text = known->second;
      if (text.substr(at).starts_with(token.text)) at += token.text.size();  // spelt out in a rendered text
      between = 0;
      tokens.push_back(token);
      continue;
    }
    core::Ids behind = before;
    behind.push_back(id);
    token.text = tokenizer.decode(behind).substr(skipped);
    std::string_view piece = token.text;
    const auto find = [&] { return text.substr(at, piece.size() + kMostBetween * between).find(piece); };
    size_t found = find();
    if (found == std::string_view::npos && piece.starts_with(' ')) piece.remove_prefix(1), found = find();  // the tokenizer's own blank
    if (piece.empty()) found = between == 0 && !text.empty() ? 0 : std::string_view::npos;                  // that blank alone
    if (found == std::string_view::npos) {
      ++between;
      tokens.push_back(token);
      continue;
    }
    place_between(at, at + found);
    token.begin = static_cast<int64_t>(at + found);
    token.end = *token.begin + std::ssize(piece);
    token.text = std::string(piece);
    at = static_cast<size_t>(*token.end);
    tokens.push_back(token);
  }
  if (!tokens.empty() && at < text.size()) place_between(at, text.size());
  return tokens;
}

std::vector<dialects::Token> listed_tokens(const ServedModel& model, const dialects::Item& item) {
  if (const auto* plain = std::get_if<dialects::PlainText>(&item.content))
    return placed_tokens(*model.tokenizer, whole_ids(model, item), plain->text);
  const auto& dialogue = std::get<core::Dialogue>(item.content);
  if (dialogue.messages.back().role == "assistant") return placed_tokens(*model.tokenizer, whole_ids(model, item), {});
  try {
    const auto tags = model.limit.allow_tags ? data::TagPolicy::allow : data::TagPolicy::refuse;
    return placed_tokens(*model.tokenizer, data::render(model.format, *model.tokenizer, dialogue, tags).ids, {});
  } catch (const std::invalid_argument&) {  // its words may repeat the client's
    throw Refused(Trouble::invalid, "a message is not valid UTF-8, or holds a tag of the chat format");
  } catch (const core::UsageError&) {
    throw Refused(Trouble::invalid, "this model has no chat format: send \"prompt\"");
  }
}

}  // namespace keel::serve
