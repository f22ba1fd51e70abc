#include "data/chat_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/error.h"
#include "core/json.h"
#include "data/chat_template.h"
#include "data/messages.h"
#include "data/text.h"

namespace keel::data {
namespace {

constexpr std::string_view kMessageStart = "<|im_start|>", kMessageEnd = "<|im_end|>";
constexpr std::string_view kHuman = "\n\nHuman:", kAssistant = "\n\nAssistant:";

std::vector<std::string_view> tags_of(const ChatFormat& format) {
  switch (format.layout) {
    case ChatFormat::llama2:
      return {"[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"};
    case ChatFormat::chatml:
      return {kMessageStart, kMessageEnd};
    case ChatFormat::hh:
      return {kHuman, kAssistant};
    case ChatFormat::none:
      return {};
  }
  return {};
}

void refuse_tags(const ChatFormat& format, const core::Dialogue& dialogue) {
  for (const core::Message& message : dialogue.messages) {
    for (const std::string_view tag : tags_of(format)) {
      if (message.content.find(tag) == std::string::npos) continue;
      const bool breaks_lines = tag.starts_with("\n\n");
      throw std::invalid_argument(fmt::format("the {} turn holds the {} tag \"{}{}\"; --allow-tags keeps it as plain text", message.role,
                                              to_string(format), breaks_lines ? "\\n\\n" : "", breaks_lines ? tag.substr(2) : tag));
    }
  }
}

int64_t required(std::optional<int64_t> id, const ChatFormat& format, std::string_view name) {
  if (id) return *id;
  throw core::UsageError(
      fmt::format("chat format {} needs {}, which the tokenizer does not have; choose another --chat format", to_string(format), name));
}

// The id of a tag. Tags that take the blanks around them are not supported.
int64_t required_tag(const Tokenizer& tokenizer, const ChatFormat& format, std::string_view tag) {
  const int64_t id = required(tokenizer.special(tag), format, tag);
  if (tokenizer.trims(id))
    throw core::UsageError(
        fmt::format("chat format {}: the tokenizer's files give {} lstrip, rstrip or single_word, which is not supported for a tag of the "
                    "format; set them to false there",
                    to_string(format), tag));
  return id;
}

// Where prompt and answer meet: `one_text` keeps what the tokenizer makes of both together, even when it merges across the seam;
// `prefix` then encodes the answer apart.
enum class Seam { one_text, prefix };

class Writer {
 public:
  explicit Writer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void id(int64_t id, bool learn) { ids({id}, learn); }
  void prompt(const std::string& text) { ids(encode(text), false); }

  void prompt_and_answer(const std::string& prompt, const std::string& answer, Seam seam, bool learn) {
    const core::Ids head = encode(prompt);
    const core::Ids whole = encode(prompt + answer);
    const auto boundary = std::mismatch(head.begin(), head.end(), whole.begin(), whole.end()).second;
    if (seam == Seam::prefix && boundary - whole.begin() < std::ssize(head)) {
      ids(head, false);
      ids(encode(answer), learn);
      return;
    }
    ids({whole.begin(), boundary}, false);
    ids({boundary, whole.end()}, learn);
  }

  core::TokenSequence finish() { return std::move(sequence_); }

 private:
  core::Ids encode(const std::string& text) const {
    return sequence_.ids.empty() ? tokenizer_.encode(text) : tokenizer_.encode_behind_special(text);
  }

  void ids(const core::Ids& more, bool learn) {
    sequence_.ids.insert(sequence_.ids.end(), more.begin(), more.end());
    sequence_.loss_mask.resize(sequence_.ids.size(), learn);
  }

  const Tokenizer& tokenizer_;
  core::TokenSequence sequence_;
};

core::TokenSequence render_llama2(const Tokenizer& tokenizer, const std::vector<core::Message>& messages) {
  const int64_t bos = required(tokenizer.bos(), ChatFormat::llama2, "a BOS");
  const int64_t eos = required(tokenizer.eos(), ChatFormat::llama2, "an EOS");
  const size_t first = messages[0].role == "system" ? 1 : 0;
  Writer writer(tokenizer);
  for (size_t i = first; i < messages.size(); i += 2) {
    std::string user = messages[i].content;
    if (i == 1 && first == 1) user = fmt::format("<<SYS>>\n{}\n<</SYS>>\n\n{}", messages[0].content, user);
    const std::string prompt = fmt::format("[INST] {} [/INST]", strip(user));
    writer.id(bos, false);
    if (i + 1 == messages.size()) {
      writer.prompt(prompt);
    } else {
      const auto& [role, answer, learned] = messages[i + 1];
      writer.prompt_and_answer(prompt, fmt::format(" {} ", strip(answer)), Seam::one_text, learned);
      writer.id(eos, learned);
    }
  }
  return writer.finish();
}

core::TokenSequence render_chatml(const Tokenizer& tokenizer, const std::vector<core::Message>& messages) {
  const int64_t start = required_tag(tokenizer, ChatFormat::chatml, kMessageStart);
  const int64_t end = required_tag(tokenizer, ChatFormat::chatml, kMessageEnd);
  Writer writer(tokenizer);
  if (tokenizer.adds_bos()) writer.id(required(tokenizer.bos(), ChatFormat::chatml, "a BOS"), false);
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool answer = messages[i].role == "assistant";
    if (i > 0) writer.prompt("\n");
    writer.id(start, false);
    if (answer) {
      writer.prompt_and_answer("assistant\n", messages[i].content, Seam::prefix, messages[i].learned);
    } else {
      writer.prompt(messages[i].role + "\n" + messages[i].content);
    }
    writer.id(end, answer && messages[i].learned);
  }
  if (messages.back().role == "user") {
    writer.prompt("\n");
    writer.id(start, false);
    writer.prompt("assistant\n");
  }
  return writer.finish();
}

core::TokenSequence render_hh(const Tokenizer& tokenizer, const std::vector<core::Message>& messages) {
  if (messages[0].role == "system") {
    throw std::invalid_argument("chat format hh has no system turn: put the instruction into the first user turn");
  }
  Writer writer(tokenizer);
  if (tokenizer.adds_bos()) writer.id(required(tokenizer.bos(), ChatFormat::hh, "a BOS"), false);
  for (size_t i = 0; i < messages.size(); i += 2) {
    const std::string prompt = fmt::format("{} {}{}", kHuman, strip(messages[i].content), kAssistant);
    if (i + 1 == messages.size()) {
      writer.prompt(prompt);
    } else {
      writer.prompt_and_answer(prompt, fmt::format(" {}", strip(messages[i + 1].content)), Seam::prefix, messages[i + 1].learned);
    }
  }
  if (messages.back().role == "assistant") writer.id(required(tokenizer.eos(), ChatFormat::hh, "an EOS"), messages.back().learned);
  return writer.finish();
}

}  // namespace

const std::vector<std::string>& chat_format_names() {
  static const std::vector<std::string> names = {"none", "llama2", "chatml", "hh"};  // in the order of the enumeration
  return names;
}

std::string_view first_tag(const ChatFormat& format) {
  const auto tags = tags_of(format);
  return tags.empty() ? std::string_view() : tags.front();
}

ChatFormat parse_chat_format(std::string_view name) {
  const auto& names = chat_format_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    throw core::UsageError(fmt::format("unknown chat format \"{}\": must be one of {}", name, fmt::join(names, ", ")));
  }
  return static_cast<ChatFormat::Layout>(found - names.begin());
}

std::string to_string(const ChatFormat& format) {
  return chat_format_names()[static_cast<size_t>(format.layout)];
}

std::string describe(const ChatFormat& format) {
  if (format.default_system.empty()) return to_string(format);
  return fmt::format("{} with the default system turn \"{}\"", to_string(format), format.default_system);
}

ChatFormat chat_format_of(const std::filesystem::path& folder, const std::string& chat) {
  if (!chat.empty()) return parse_chat_format(chat);
  const std::filesystem::path path = folder / "keel.json";
  if (!std::filesystem::exists(path)) {
    const auto found = find_chat_template(folder);
    return found ? format_of_template(*found) : ChatFormat::none;
  }
  const nlohmann::json object = core::read_json_file(path);
  const auto found = object.is_object() ? object.find("chat_format") : object.end();
  if (found == object.end() || !found->is_string())
    throw core::DataError(path, 0, "\"chat_format\" must be text; write this folder with keel convert");
  const auto name = found->get<std::string>();
  if (const auto& known = chat_format_names(); std::find(known.begin(), known.end(), name) == known.end())
    throw core::DataError(
        path, 0, fmt::format("\"chat_format\" must be one of {}, got \"{}\"; correct it or pass --chat", fmt::join(known, ", "), name));
  ChatFormat format = parse_chat_format(name);
  if (const auto system = object.find("default_system"); system != object.end()) {
    if (!system->is_string()) throw core::DataError(path, 0, "\"default_system\" must be text");
    format.default_system = system->get<std::string>();
  }
  return format;
}

bool holds_tag(const ChatFormat& format, std::string_view text) {
  const auto tags = tags_of(format);
  return std::any_of(tags.begin(), tags.end(), [&](std::string_view tag) { return text.find(tag) != std::string_view::npos; });
}

core::TokenSequence render(const ChatFormat& format, const Tokenizer& tokenizer, const core::Dialogue& given, TagPolicy tags) {
  check_roles(given);
  core::Dialogue dialogue = given;
  if (!format.default_system.empty() && dialogue.messages[0].role != "system")
    dialogue.messages.insert(dialogue.messages.begin(), {"system", format.default_system});
  if (tags == TagPolicy::refuse) refuse_tags(format, dialogue);
  switch (format.layout) {
    case ChatFormat::llama2:
      return render_llama2(tokenizer, dialogue.messages);
    case ChatFormat::chatml:
      return render_chatml(tokenizer, dialogue.messages);
    case ChatFormat::hh:
      return render_hh(tokenizer, dialogue.messages);
    case ChatFormat::none:
      break;
  }
  throw core::UsageError(
      "the model has no chat format, so messages cannot be rendered: name one (--chat llama2, chatml or hh) or give raw text");
}

core::TokenSequence render_text(const Tokenizer& tokenizer, std::string_view text, bool bos, bool eos) {
  core::TokenSequence sequence;
  if (bos && tokenizer.adds_bos()) {
    if (!tokenizer.bos()) throw core::UsageError("the tokenizer's files ask for a BOS that it does not have");
    sequence.ids.push_back(*tokenizer.bos());
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
  if (format == ChatFormat::chatml) ids.push_back(required_tag(tokenizer, format, kMessageEnd));
  const auto add = [&](int64_t id) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
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
