#include "data/chat_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "data/chat_template.h"
#include "data/format_marks.h"
#include "data/messages.h"
#include "data/text.h"

namespace keel::data {
namespace {

// A part of a declared text: plain text, or the id that stands there.
struct Part {
  std::string text;
  std::optional<int64_t> id;
};
using Parts = std::vector<Part>;

int64_t required(std::optional<int64_t> id, const ChatFormat& format, std::string_view name) {
  if (id) return *id;
  throw core::UsageError(fmt::format(
      "chat format {} needs {}, which the tokenizer does not have; choose another chat format (--chat, in a recipe chat_format)",
      format.name, name));
}

// The declared texts of a format under a tokenizer.
class Texts {
 public:
  Texts(const ChatFormat& format, const Tokenizer& tokenizer) : format_(format), tokenizer_(tokenizer) {
    for (const std::string& token : format.tokens)
      required(tokenizer.special(token), format, token);
    for (const std::string& special : tokenizer.special_texts())
      if (!special.empty() && occurs(special)) specials_.push_back(special);
    std::ranges::stable_sort(specials_, std::ranges::greater(), &std::string::size);
  }

  Parts parts(std::string_view text) const {
    Parts parts;
    const auto add = [&](std::optional<int64_t> id, size_t length) {
      parts.push_back({{}, id});
      text.remove_prefix(length);
    };
    while (!text.empty()) {
      const auto special = std::ranges::find_if(specials_, [&](const std::string& one) { return text.starts_with(one); });
      if (special != specials_.end()) {
        add(tag_id(*special), special->size());
      } else if (text.starts_with(kBosMark)) {
        add(required(tokenizer_.bos(), format_, "a BOS"), kBosMark.size());
      } else if (text.starts_with(kEosMark)) {
        add(required(tokenizer_.eos(), format_, "an EOS"), kEosMark.size());
      } else {
        if (parts.empty() || parts.back().id) parts.emplace_back();
        parts.back().text += text[0];
        text.remove_prefix(1);
      }
    }
    return parts;
  }

  // What ends an answer, its last part a special id, and what a template writes behind it. Without such an id all of it ends the answer.
  std::pair<Parts, Parts> answer_suffix() const {
    Parts all = parts(format_.assistant.suffix);
    const auto end = std::ranges::find_if(all, [](const Part& part) { return part.id.has_value(); });
    if (end == all.end()) return {all, {}};
    return {{all.begin(), end + 1}, {end + 1, all.end()}};
  }

 private:
  bool occurs(std::string_view special) const {
    return std::ranges::any_of(std::array{&format_.system, &format_.user, &format_.assistant},
                               [&](const TurnTexts* turn) {
                                 return turn->prefix.find(special) != std::string::npos || turn->suffix.find(special) != std::string::npos;
                               }) ||
           format_.end.find(special) != std::string::npos;
  }

  // Tags that take the blanks around them are not supported.
  int64_t tag_id(const std::string& tag) const {
    const int64_t id = *tokenizer_.special(tag);
    if (tokenizer_.trims(id))
      throw core::UsageError(fmt::format(
          "chat format {}: the tokenizer's files give {} lstrip, rstrip or single_word, which is not supported for a tag of the "
          "format; set them to false there",
          format_.name, tag));
    return id;
  }

  const ChatFormat& format_;
  const Tokenizer& tokenizer_;
  std::vector<std::string> specials_;  // those that the declared texts hold, the longest first
};

// Collects text and ids; the text between two ids is encoded as one.
class Writer {
 public:
  explicit Writer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void context(const Parts& parts) {
    for (const Part& part : parts) {
      if (part.id) {
        id(*part.id, false);
      } else {
        context(part.text);
      }
    }
  }
  void context(std::string_view text) {
    if (in_answer_) flush();
    context_ += text;
  }
  void answer(const Parts& parts, bool learned) {
    for (const Part& part : parts) {
      if (part.id) {
        id(*part.id, learned);
      } else {
        answer(part.text, learned);
      }
    }
  }
  void answer(std::string_view text, bool learned) {
    in_answer_ = true;
    learned_ = learned;
    answer_ += text;
  }
  void id(int64_t id, bool learned) {
    flush();
    ids({id}, learned);
  }

  core::TokenSequence finish() {
    flush();
    return std::move(sequence_);
  }

 private:
  void flush() {
    const core::Ids head = encode(context_);
    if (in_answer_) {
      const core::Ids whole = encode(context_ + answer_);
      const auto boundary = std::mismatch(head.begin(), head.end(), whole.begin(), whole.end()).second;
      ids({whole.begin(), boundary}, false);
      ids({boundary, whole.end()}, learned_);
    } else {
      ids(head, false);
    }
    context_.clear(), answer_.clear(), in_answer_ = false;
  }

  core::Ids encode(const std::string& text) const {
    if (text.empty()) return {};
    return sequence_.ids.empty() ? tokenizer_.encode(text) : tokenizer_.encode_behind_special(text);
  }

  void ids(const core::Ids& more, bool learned) {
    sequence_.ids.insert(sequence_.ids.end(), more.begin(), more.end());
    sequence_.loss_mask.resize(sequence_.ids.size(), learned);
  }

  const Tokenizer& tokenizer_;
  core::TokenSequence sequence_;
  std::string context_, answer_;
  bool in_answer_ = false, learned_ = false;
};

// The id that a dialogue begins with, before its first turn.
std::optional<int64_t> first_id(const ChatFormat& format, const Tokenizer& tokenizer) {
  if (format.bos == BosRule::once) return required(tokenizer.bos(), format, "a BOS");
  return format.bos == BosRule::as_tokenizer ? tokenizer.start() : std::nullopt;
}

std::vector<std::string> tags_of(const ChatFormat& format) {
  std::vector<std::string> tags = format.tokens;
  tags.insert(tags.end(), format.tags.begin(), format.tags.end());
  return tags;
}

void refuse_tags(const ChatFormat& format, const core::Dialogue& dialogue) {
  for (const core::Message& message : dialogue.messages) {
    for (std::string tag : tags_of(format)) {
      if (message.content.find(tag) == std::string::npos) continue;
      for (size_t at = tag.find('\n'); at != std::string::npos; at = tag.find('\n', at))
        tag.replace(at, 1, "\\n");
      throw std::invalid_argument(
          fmt::format("the {} turn holds the {} tag \"{}\"; --allow-tags, in a recipe data.allow_tags, keeps it as plain text",
                      message.role, format.name, tag));
    }
  }
}

void require_messages(const ChatFormat& format) {
  if (format == ChatFormat::none)
    throw core::UsageError(
        fmt::format("the model has no chat format, so messages cannot be rendered: name one (--chat, in a recipe chat_format: {}, or a "
                    ".json file that declares one) or give raw text",
                    fmt::join(dialogue_formats(), ", ")));
}

// Where the model's own tokenizer puts BOS as its template does, chatml stays the built-in one, which leaves it to the tokenizer.
void leave_bos_to_tokenizer_(ChatFormat& format, const std::filesystem::path& path) {
  if (ChatFormat::chatml.bos == format.bos || format.name != ChatFormat::chatml.name) return;
  if (std::filesystem::is_directory(path) && !std::filesystem::exists(path / "tokenizer.json") &&
      !std::filesystem::exists(path / "tokenizer.model"))
    return;
  if ((format.bos == BosRule::once) == load_tokenizer(path)->adds_bos()) format.bos = BosRule::as_tokenizer;
}

}  // namespace

ChatFormat chat_format_of(const std::filesystem::path& folder, const std::string& chat) {
  const std::filesystem::path path = folder / "keel.json";
  const bool recorded = std::filesystem::exists(path);
  if (chat.empty() && recorded) return format_of_keel_json(core::read_json_file(path), path);
  const auto found = recorded ? std::nullopt : find_chat_template(folder);
  if (!found) return chat.empty() ? ChatFormat::none : parse_chat_format(chat);
  ChatFormat format = format_of_template(*found);
  leave_bos_to_tokenizer_(format, folder);
  if (chat.empty()) return format;
  ChatFormat named = parse_chat_format(chat);
  if (named != format && format != ChatFormat::none)
    core::log_warn_once(fmt::format("{} writes {}, but {} is used, as asked", found->origin, describe(format), describe(named)));
  return named;
}

bool begins_rendered(const ChatFormat& format, std::string_view text) {
  const auto begins = [&](std::string_view start) {
    start = behind_bos(start);
    const std::string_view inner = strip(start);
    return !inner.empty() && text.starts_with(start.substr(0, static_cast<size_t>(inner.end() - start.begin())));
  };
  if (format.system_place == SystemPlace::turn || format.system_place == SystemPlace::always)
    if (begins(format.system.prefix) || begins(format.default_system)) return true;
  return begins(format.user.prefix);
}

bool holds_tag(const ChatFormat& format, std::string_view text) {
  return std::ranges::any_of(tags_of(format), [&](const std::string& tag) { return text.find(tag) != std::string_view::npos; });
}

core::TokenSequence render(const ChatFormat& format, const Tokenizer& tokenizer, const core::Dialogue& dialogue, TagPolicy tags) {
  check_roles(dialogue);
  require_messages(format);
  std::vector<core::Message> messages = dialogue.messages;
  if (messages[0].role != "system" && (!format.default_system.empty() || format.system_place == SystemPlace::always))
    messages.insert(messages.begin(), {"system", format.default_system});
  if (messages[0].role == "system" && format.system_place == SystemPlace::none)
    throw std::invalid_argument(
        fmt::format("chat format {} has no system turn: put the instruction into the first user turn", format.name));
  if (tags == TagPolicy::refuse) refuse_tags(format, {messages});

  const Texts texts(format, tokenizer);
  const auto content = [&](const std::string& text, bool stripped) { return stripped ? std::string(strip(text)) : text; };
  Writer writer(tokenizer);
  if (const auto first = first_id(format, tokenizer)) writer.id(*first, false);
  std::string before_first_user;
  for (const core::Message& message : messages) {
    const auto& [role, text, learned] = message;
    if (role == "assistant") {
      const auto [ends, behind] = texts.answer_suffix();
      writer.context(texts.parts(format.generation_prompt));
      writer.answer(format.assistant.prefix.substr(format.generation_prompt.size()) + content(text, format.strip), learned);
      writer.answer(ends, learned);
      if (&message == &messages.back())
        writer.answer(texts.parts(format.end), learned);
      else
        writer.context(behind);
    } else if (role == "system" && format.system_place == SystemPlace::first_user) {
      before_first_user = format.system.prefix + text + format.system.suffix;
    } else {
      const TurnTexts& turn = role == "system" ? format.system : format.user;
      writer.context(texts.parts(turn.prefix));
      writer.context(content(before_first_user + text, role == "system" ? format.strip_system : format.strip));
      writer.context(texts.parts(turn.suffix));
      before_first_user.clear();
    }
  }
  if (messages.back().role == "user") writer.context(texts.parts(format.generation_prompt));
  return writer.finish();
}

void check_renderable(const ChatFormat& format, const Tokenizer& tokenizer) {
  if (format == ChatFormat::none) return;
  render(format, tokenizer, {{{"user", "a"}, {"assistant", "b"}}});
  const Texts texts(format, tokenizer);
  for (const Parts& ends : {texts.answer_suffix().first, texts.parts(format.end)})
    if (!ends.empty() && ends.back().id) return;
  throw core::UsageError(fmt::format(
      "chat format {}: an answer has no end; put {{eos}} or a special token of the tokenizer into assistant.suffix or end", format.name));
}

core::TokenSequence render_text(const Tokenizer& tokenizer, std::string_view text, bool bos, bool eos) {
  core::TokenSequence sequence;
  if (bos && tokenizer.start()) {
    sequence.ids.push_back(*tokenizer.start());
    sequence.loss_mask.push_back(false);
  }
  const core::Ids ids = tokenizer.encode(text);
  sequence.ids.insert(sequence.ids.end(), ids.begin(), ids.end());
  if (eos) {
    if (!tokenizer.eos()) throw core::UsageError("the tokenizer has no EOS to end a text with");
    sequence.ids.push_back(*tokenizer.eos());
  }
  sequence.loss_mask.resize(sequence.ids.size(), true);
  return sequence;
}

core::Ids stop_ids(const ChatFormat& format, const Tokenizer& tokenizer) {
  core::Ids ids;
  const auto add = [&](int64_t id) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  const Parts ends = Texts(format, tokenizer).answer_suffix().first;
  if (!ends.empty() && ends.back().id) add(*ends.back().id);
  if (tokenizer.eos()) add(*tokenizer.eos());
  for (const int64_t id : tokenizer.stops())
    add(id);
  if (ids.empty()) throw core::UsageError("the tokenizer has no EOS: a generated answer could not end");
  return ids;
}

namespace {

// A model may have more ids than its tokenizer, to round its vocabulary up. They can be sampled but have no text.
std::string text_of(const Tokenizer& tokenizer, core::Ids ids) {
  std::erase_if(ids, [&](int64_t id) { return id >= tokenizer.vocab_size(); });
  return tokenizer.decode(ids);
}

// A stop may be an ordinary piece; the stop that ended an answer is not part of its text.
core::Ids without_stop(const Tokenizer& tokenizer, core::Ids ids) {
  const auto& stops = tokenizer.stops();
  if (!ids.empty() && std::find(stops.begin(), stops.end(), ids.back()) != stops.end()) ids.pop_back();
  return ids;
}

}  // namespace

std::string answer_text(const ChatFormat& format, const Tokenizer& tokenizer, const core::Ids& ids) {
  const std::string text = text_of(tokenizer, without_stop(tokenizer, ids));
  return format == ChatFormat::none ? text : std::string(strip(text));
}

std::string continuation_text(const Tokenizer& tokenizer, const core::Ids& prompt, const core::Ids& ids) {
  const core::Ids all = core::joined(prompt, without_stop(tokenizer, ids));
  const std::string before = text_of(tokenizer, prompt), whole = text_of(tokenizer, all);
  // Where a prompt ends inside a character, its text has U+FFFD and the whole text has the character: the answer then begins with it.
  auto [_, begin] = std::mismatch(before.begin(), before.end(), whole.begin(), whole.end());
  while (begin != whole.end() && begin != whole.begin() && (static_cast<unsigned char>(*begin) & 0xC0) == 0x80)
    --begin;
  return {begin, whole.end()};
}

}  // namespace keel::data
