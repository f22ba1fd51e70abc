// Chat formats: dialogues to token ids. llama2 follows meta-llama/llama's generation.py (one BOS a turn, turns encoded apart); chatml is
// the <|im_start|> layout; hh is the text of Anthropic's HH-RLHF. Training, scoring and generation all render here.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"
#include "data/tokenizer.h"

namespace keel::data {

// A layout, and the system turn that it puts before a dialogue without one ("" = none), as some models' templates do.
struct ChatFormat {
  enum Layout { none, llama2, chatml, hh };

  ChatFormat(Layout chosen = none) : layout(chosen) {}  // NOLINT(google-explicit-constructor): a layout alone is a format
  bool operator==(const ChatFormat& other) const = default;
  bool operator==(Layout other) const { return layout == other; }

  Layout layout;
  std::string default_system;
};

enum class TagPolicy { refuse, allow };  // allow keeps the tags of a format as plain text; they never become special ids

ChatFormat parse_chat_format(std::string_view name);  // UsageError naming the known ones
std::string to_string(const ChatFormat& format);      // the name of its layout
std::string describe(const ChatFormat& format);       // with its default system turn, for messages
const std::vector<std::string>& chat_format_names();

// The tag with which a rendered dialogue begins, behind the BOS: "[INST]", "<|im_start|>", "\n\nHuman:"; "" for no format.
std::string_view first_tag(const ChatFormat& format);

// Whether `text` holds a tag of the format, which render() refuses or keeps as plain text.
bool holds_tag(const ChatFormat& format, std::string_view text);

// The format that `chat` names or, when it is empty, that of keel.json in a model folder; where there is no keel.json, that of the
// folder's chat template (data/chat_template.h), or none. `path` may be a GGUF file too. DataError for a broken keel.json.
ChatFormat chat_format_of(const std::filesystem::path& path, const std::string& chat = {});

// Ids of a dialogue. When it ends with a user turn it is a prompt, ready for an answer; when it ends with an assistant turn it is finished
// and carries the format's end (EOS, <|im_end|>). The loss mask is true on the answers of all assistant turns that are learned, each with
// its end, and on nothing else. The ids of a prompt are a prefix of the ids of the same dialogue with its answer, except in llama2 under a
// tokenizer that merges across "[/INST]" and the blank after it: the reference encodes a turn as one text. The loss then starts at the
// first id that differs from the prompt's, so that the whole answer is learned.
//
// llama2 and hh strip the blanks around each turn; chatml keeps them. hh ends the last answer alone with EOS.
//
// A dialogue without a system turn gets the format's default one, if it has one.
//
// Throws std::invalid_argument for roles out of turn, a system turn in hh, tags in a message (TagPolicy::refuse), invalid UTF-8; UsageError
// for ChatFormat::none and for a tokenizer without the special ids that the format needs.
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
