// Chat formats: dialogues to token ids. A format is a declaration, the texts around the turns; training, scoring and generation all render
// here. The built-in ones write what the chat templates of the Llama family's common checkpoints write; llama2 follows meta-llama/llama's
// generation.py, hh is the text of Anthropic's HH-RLHF.
#pragma once

#include <array>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "core/types.h"
#include "data/tokenizer.h"

namespace keel::data {

enum class BosRule { as_tokenizer, never, once };  // whether a dialogue begins with BOS; as_tokenizer: where raw text does
constexpr auto names(BosRule) {
  return std::to_array<core::Named<BosRule>>({{BosRule::as_tokenizer, "as_tokenizer"}, {BosRule::never, "never"}, {BosRule::once, "once"}});
}

enum class SystemPlace { none, turn, always, first_user };  // always: a turn that is written, empty, where a dialogue has none
constexpr auto names(SystemPlace) {
  return std::to_array<core::Named<SystemPlace>>(
      {{SystemPlace::none, "none"}, {SystemPlace::turn, "turn"}, {SystemPlace::always, "always"}, {SystemPlace::first_user, "first_user"}});
}

// The texts around the content of a turn. "{bos}" and "{eos}" in them are those ids, and so is the text of every special token of the
// tokenizer; a turn's content never becomes one.
struct TurnTexts {
  std::string prefix, suffix;
  bool operator==(const TurnTexts&) const = default;
};
inline void visit(TurnTexts& turn, core::Fields& fields) {
  fields("prefix", turn.prefix, "text before the content");
  fields("suffix", turn.suffix, "text behind the content");
}

struct ChatFormat {
  static const ChatFormat none;  // of models that know no dialogues
  static const ChatFormat llama2, llama3, chatml, zephyr, vicuna, alpaca, hh;

  bool operator==(const ChatFormat&) const = default;

  std::string name = "none";
  BosRule bos = BosRule::as_tokenizer;
  SystemPlace system_place = SystemPlace::turn;
  TurnTexts system = {}, user = {}, assistant = {};
  std::string generation_prompt = {};  // the part of assistant.prefix that ends a prompt; the rest belongs to the answer
  std::string end = {};                // behind the last answer alone
  bool strip = false, strip_system = false;
  std::string default_system = {};
  std::vector<std::string> tokens = {}, tags = {};
};
inline void visit(ChatFormat& format, core::Fields& fields) {
  fields("name", format.name, "name of the format in messages and keel.json");
  fields("bos", format.bos, "whether a dialogue begins with BOS");
  fields("system_place", format.system_place, "whether a dialogue may have a system turn, and whether it stands in the first user turn");
  fields.section("system", format.system, "around the system turn");
  fields.section("user", format.user, "around a user turn");
  fields.section("assistant", format.assistant, "around an assistant turn; its suffix up to the first special token ends an answer");
  fields("generation_prompt", format.generation_prompt, "the part of assistant.prefix that stands behind a prompt");
  fields("end", format.end, "text behind the last answer alone");
  fields("strip", format.strip, "leave out the blanks around the content of user and assistant turns");
  fields("strip_system", format.strip_system, "leave out those around the system turn");
  fields("default_system", format.default_system, "system turn of a dialogue without one; empty: none");
  fields("tokens", format.tokens, "special tokens that the tokenizer must have");
  fields("tags", format.tags, "texts that no content may hold, beside the tokens");
}

enum class TagPolicy { refuse, allow };  // allow keeps the tags of a format as plain text; they never become special ids

ChatFormat parse_chat_format(std::string_view name);  // a built-in one, or a .json file; UsageError naming the known ones
std::string describe(const ChatFormat& format);       // with its default system turn, for messages
const std::vector<std::string>& chat_format_names();  // the built-in ones
std::vector<std::string> dialogue_formats();          // the same without "none", which renders no dialogue

// A declaration of one's own: a JSON file, comments allowed, with the fields of visit(); without "generation_prompt" the whole
// assistant.prefix, without "tags" and "tokens" the prefixes of the turns. ConfigError for wrong fields, UsageError when missing.
ChatFormat read_chat_format(const std::filesystem::path& file);

// The prefixes of a format's turns without the blanks around them: its tags, where it declares neither tags nor tokens.
std::vector<std::string> prefixes_of(const ChatFormat& format);

// What keel.json says of a format: "chat_format", its name, and, if it is not the built-in one of that name, "default_system" where that
// alone differs, else "chat", the whole declaration. The second reads it; DataError with `place`.
nlohmann::json keel_json_of(const ChatFormat& format);
ChatFormat format_of_keel_json(const nlohmann::json& object, const std::filesystem::path& place);

// Throws UsageError if dialogues cannot be rendered with this tokenizer, naming what it lacks. Nothing for ChatFormat::none.
void check_renderable(const ChatFormat& format, const Tokenizer& tokenizer);

// Whether `text` begins, behind a BOS, as a rendered dialogue does.
bool begins_rendered(const ChatFormat& format, std::string_view text);

// Whether `text` holds a tag of the format, which render() refuses or keeps as plain text.
bool holds_tag(const ChatFormat& format, std::string_view text);

// The format that `chat` names or, when it is empty, that of keel.json in a model folder; where there is no keel.json, that of the
// folder's chat template (data/chat_template.h), or none. `path` may be a GGUF file too. DataError for a broken keel.json.
ChatFormat chat_format_of(const std::filesystem::path& path, const std::string& chat = {});

// Ids of a dialogue. When it ends with a user turn it is a prompt, ready for an answer; when it ends with an assistant turn it is finished
// and carries the end of an answer (EOS, <|im_end|>), and nothing of what a template writes behind that. The loss mask is true on the
// answers of all assistant turns that are learned, each with its end, and on nothing else.
//
// The text between two special tokens is encoded as one, as transformers encodes a rendered template. The ids of a prompt are therefore a
// prefix of the ids of the same dialogue with its answer, except under a tokenizer that merges across the end of the prompt; the loss then
// starts at the first id that differs from the prompt's, so that the whole answer is learned.
//
// A dialogue without a system turn gets the format's default one, if it has one.
//
// Throws std::invalid_argument for roles out of turn, a system turn in a format without, tags in a message (TagPolicy::refuse), invalid
// UTF-8; UsageError for ChatFormat::none and for a tokenizer without the special ids that the format needs.
core::TokenSequence render(const ChatFormat& format, const Tokenizer& tokenizer, const core::Dialogue& dialogue,
                           TagPolicy tags = TagPolicy::refuse);

// Ids of raw text: BOS as the tokenizer's files say unless `bos` is false; `eos` ends a document. The loss mask is true on all but the BOS.
core::TokenSequence render_text(const Tokenizer& tokenizer, std::string_view text, bool bos = true, bool eos = false);

// Ids that end a generated answer: the format's own, the tokenizer's EOS and its further stops. UsageError when there is none.
core::Ids stop_ids(const ChatFormat& format, const Tokenizer& tokenizer);

// Text of a generated answer, without the ids that ended it; chat formats strip the blanks around it.
std::string answer_text(const ChatFormat& format, const Tokenizer& tokenizer, const core::Ids& ids);

// The text that `ids` add after `prompt`: the prompt's text and this text together are the text of all ids. Decoding `ids` alone would lose
// a leading blank, because SentencePiece and similar tokenizers remove one at the start of a text.
std::string continuation_text(const Tokenizer& tokenizer, const core::Ids& prompt, const core::Ids& ids);

}  // namespace keel::data
