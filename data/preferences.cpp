#include "data/preferences.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/jsonl.h"
#include "data/hh_text.h"
#include "data/messages.h"
#include "data/text.h"

namespace keel::data {
namespace {

// One side of a pair: the turns before the answer, and the answer if the dialogue ends with one.
struct Side {
  std::vector<core::Message> before;  // HH-RLHF text: not joined yet
  std::optional<std::string> answer;
};

std::string compared(core::Message answer) {
  if (!answer.learned) throw std::invalid_argument("a compared answer has \"weight\": 0, which would leave nothing to learn from the pair");
  return std::move(answer.content);
}

Side split_last(std::vector<core::Message> turns) {
  Side side;
  if (turns.back().role == "assistant") {
    side.answer = compared(std::move(turns.back()));
    turns.pop_back();
  }
  core::Dialogue before{std::move(turns)};
  learn_all_answers_(before);
  side.before = std::move(before.messages);
  return side;
}

Side parse_dialogue(const nlohmann::json& list, const std::string& name) {
  core::Dialogue dialogue = parse_messages(list, name);
  check_roles(dialogue);
  return split_last(std::move(dialogue.messages));
}

// A whole dialogue without a "prompt" beside it.
Side parse_whole(const nlohmann::json& value, const std::string& name) {
  if (value.is_array()) return parse_dialogue(value, name);
  const auto& text = value.get_ref<const std::string&>();
  if (!is_hh_text(text)) {
    throw std::invalid_argument(
        fmt::format("\"{}\" is text without a \"prompt\" beside it, so it must be a dialogue in HH-RLHF text "
                    "(beginning with \"\\n\\nHuman:\"), or a list of messages",
                    name));
  }
  return split_last(split_hh_text(text));
}

// Whether a side is a whole dialogue rather than an answer to a "prompt".
bool is_whole(const nlohmann::json& value) {
  if (value.is_string()) return is_hh_text(value.get_ref<const std::string&>());
  return !value.empty() && value[0].is_object() && value[0].value("role", nlohmann::json()) != "assistant";
}

core::Dialogue parse_prompt(const nlohmann::json& value) {
  if (value.is_string()) return dialogue_of_prompt(value.get_ref<const std::string&>());
  core::Dialogue prompt = parse_messages(value, "prompt");
  check_roles(prompt);
  if (prompt.messages.back().role != "user") throw std::invalid_argument("\"prompt\" must end with a user turn");
  learn_all_answers_(prompt);
  return prompt;
}

// A "prompt" beside whole dialogues repeats their beginning, often only the first or last user turn, cut or trimmed. True if it shares a
// turn with them, blanks aside.
bool repeats_a_turn(const nlohmann::json& prompt, const std::vector<core::Message>& shared) {
  core::Dialogue given;
  if (prompt.is_string())
    given.messages.push_back({"user", prompt.get<std::string>()});
  else
    given = parse_messages(prompt, "prompt");
  if (given.messages.empty()) return true;  // it says nothing
  for (const core::Message& repeated : given.messages) {
    const std::string text = single_spaced(repeated.content);
    for (const core::Message& turn : shared) {
      const std::string other = single_spaced(turn.content);
      if (other.empty()) continue;
      if (text.find(other) != std::string::npos || other.find(text) != std::string::npos) return true;
    }
  }
  return false;
}

// The answer to `prompt`: text, a lone assistant message, or a whole dialogue that repeats the prompt.
Side parse_answer(const core::Dialogue& prompt, bool hh_prompt, const nlohmann::json& value, const std::string& name) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (is_hh_text(text)) {
      throw std::invalid_argument(fmt::format("\"{}\" is a whole dialogue in HH-RLHF text: leave the \"prompt\" out", name));
    }
    return {prompt.messages, std::string(hh_prompt ? strip(text) : text)};
  }
  core::Dialogue given = parse_messages(value, name);
  if (given.messages.empty() || given.messages[0].role != "assistant") return parse_dialogue(value, name);
  if (given.messages.size() > 1) {
    throw std::invalid_argument(
        fmt::format("\"{}\" must be one assistant message after a \"prompt\", got {} messages", name, given.messages.size()));
  }
  return {prompt.messages, compared(std::move(given.messages[0]))};
}

const nlohmann::json& required_side(const nlohmann::json& row, const std::string& name) {
  const auto* found = member(row, name);
  if (found == nullptr)
    throw std::invalid_argument(fmt::format("the row has no \"{}\"; a pair is {{\"prompt\",\"chosen\",\"rejected\"}}", name));
  if (!found->is_string() && !found->is_array()) {
    throw std::invalid_argument(fmt::format("\"{}\" must be text or a list of messages, got {}", name, found->type_name()));
  }
  return *found;
}

struct Sides {
  Side chosen, rejected;
  bool same_prompt = false;
};

// Both sides as the row gives them; a malformed row throws here, before anything is judged.
Sides parse_sides(const nlohmann::json& row) {
  const nlohmann::json& chosen = required_side(row, "chosen");
  const nlohmann::json& rejected = required_side(row, "rejected");
  if (chosen.type() != rejected.type()) {
    throw std::invalid_argument(
        fmt::format("\"chosen\" and \"rejected\" must be of one kind, got {} and {}", chosen.type_name(), rejected.type_name()));
  }
  const auto* value = member(row, "prompt");
  if (value == nullptr || (is_whole(chosen) && is_whole(rejected))) {
    Sides sides = {parse_whole(chosen, "chosen"), parse_whole(rejected, "rejected")};
    sides.same_prompt = sides.chosen.before == sides.rejected.before && (value == nullptr || repeats_a_turn(*value, sides.chosen.before));
    return sides;
  }
  const core::Dialogue prompt = parse_prompt(*value);
  const bool hh = value->is_string() && is_hh_text(value->get_ref<const std::string&>());
  Sides sides = {parse_answer(prompt, hh, chosen, "chosen"), parse_answer(prompt, hh, rejected, "rejected")};
  sides.same_prompt = sides.chosen.before == prompt.messages && sides.rejected.before == prompt.messages;
  return sides;
}

// The prompt that both sides share. HH-RLHF text may stop in the middle of an assistant's turn ("Assistant: a", then "Assistant: b"): its
// text up to there belongs to both answers.
void join_prompt(std::vector<core::Message> before, core::PreferencePair& pair) {
  pair.prompt = join_turns(std::move(before));
  auto& turns = pair.prompt.messages;
  if (turns.empty() || turns.back().role != "assistant") return;
  pair.chosen = turns.back().content + "\n" + pair.chosen;
  pair.rejected = turns.back().content + "\n" + pair.rejected;
  turns.pop_back();
}

// Why a well-formed pair cannot be used (a key of Counts::dropped); nullptr when it can.
const char* why_unusable(const core::PreferencePair& pair, const PreferenceOptions& options) {
  if (pair.prompt.messages.empty() || pair.prompt.messages[0].role == "assistant") return "assistant_first";
  const std::string_view chosen = strip(pair.chosen), rejected = strip(pair.rejected);
  if (chosen.empty() || rejected.empty()) return "empty_answer";
  if (chosen == rejected) return "identical_answers";
  if (options.safety && pair.chosen_safe == false && pair.rejected_safe == true) return "unsafe_chosen";
  return nullptr;
}

}  // namespace

int parse_strength(const nlohmann::json& row) {
  const auto* found = member(row, "strength");
  if (found == nullptr) return 0;
  if (!found->is_number_integer()) throw std::invalid_argument(fmt::format("\"strength\" must be an integer 1..4, got {}", found->dump()));
  const bool known = *found >= 1 && *found <= 4;
  if (!known)
    throw std::invalid_argument(fmt::format("\"strength\" must be 1 (negligibly better) .. 4 (significantly), got {}", found->dump()));
  return found->get<int>();
}

std::optional<bool> parse_label(const nlohmann::json& row, const std::string& name) {
  const auto* found = member(row, name);
  if (found == nullptr) return std::nullopt;
  if (!found->is_boolean()) throw std::invalid_argument(fmt::format("\"{}\" must be true or false, got {}", name, found->dump()));
  return found->get<bool>();
}

std::optional<core::PreferencePair> parse_preference(const nlohmann::json& row, const PreferenceOptions& options, Counts& counts) {
  Sides sides = parse_sides(row);
  core::PreferencePair pair;
  pair.strength = parse_strength(row);
  pair.chosen_safe = parse_label(row, "chosen_safe");
  pair.rejected_safe = parse_label(row, "rejected_safe");
  pair.source = optional_text(row, "source");
  pair.batch = optional_name(row, "batch");

  const char* reason = nullptr;
  if (!sides.chosen.answer || !sides.rejected.answer) {
    reason = "no_answer";
  } else if (!sides.same_prompt) {
    reason = "prompts_differ";
  } else {
    pair.chosen = std::move(*sides.chosen.answer);
    pair.rejected = std::move(*sides.rejected.answer);
    join_prompt(std::move(sides.chosen.before), pair);
    reason = why_unusable(pair, options);
  }
  if (reason != nullptr) {
    ++counts.dropped[reason];
    return std::nullopt;
  }
  ++counts.kept;
  return pair;
}

nlohmann::json preference_json(const core::PreferencePair& pair) {
  nlohmann::json row = {{"prompt", messages_json(pair.prompt)}, {"chosen", pair.chosen}, {"rejected", pair.rejected}};
  if (pair.strength != 0) row["strength"] = pair.strength;
  if (pair.chosen_safe) row["chosen_safe"] = *pair.chosen_safe;
  if (pair.rejected_safe) row["rejected_safe"] = *pair.rejected_safe;
  if (!pair.source.empty()) row["source"] = pair.source;
  if (!pair.batch.empty()) row["batch"] = pair.batch;
  return row;
}

PreferenceSet read_preferences(const std::filesystem::path& path, const PreferenceOptions& options) {
  PreferenceSet set;
  set.path = path.string();
  core::JsonlReader reader(path);
  for (nlohmann::json row; reader.next(row);) {
    auto pair = with_place(set.path, reader.line(), [&] { return parse_preference(row, options, set.counts); });
    if (!pair) continue;
    set.pairs.push_back(std::move(*pair));
    set.lines.push_back(reader.line());
  }
  return set;
}

std::optional<core::TokenPair> render_pair(const core::PreferencePair& pair, ChatFormat format, const Tokenizer& tokenizer,
                                           const RenderLimits& limits, Counts& counts) {
  core::TokenPair rendered;
  rendered.strength = pair.strength;
  rendered.chosen_safe = pair.chosen_safe;
  rendered.rejected_safe = pair.rejected_safe;
  const auto ids_with = [&](core::Dialogue dialogue, const std::string& answer) {
    dialogue.messages.push_back({"assistant", answer});
    return render(format, tokenizer, dialogue, limits.tags).ids;
  };
  core::Dialogue prompt = pair.prompt;
  const bool fits = shorten_until_fits_(prompt, limits, counts, [&](const core::Dialogue& left) {
    rendered.chosen = ids_with(left, pair.chosen);
    rendered.rejected = ids_with(left, pair.rejected);
    return std::max(std::ssize(rendered.chosen), std::ssize(rendered.rejected));
  });
  return fits ? std::optional(std::move(rendered)) : std::nullopt;
}

RenderedPairs render_pairs(const PreferenceSet& set, ChatFormat format, const Tokenizer& tokenizer, const RenderLimits& limits) {
  RenderedPairs out;
  for (size_t i = 0; i < set.pairs.size(); ++i) {
    const int64_t line = i < set.lines.size() ? set.lines[i] : 0;
    auto pair = with_place(set.path, line, [&] { return render_pair(set.pairs[i], format, tokenizer, limits, out.counts); });
    if (!pair) continue;
    out.pairs.push_back(std::move(*pair));
    out.rows.push_back(i);
  }
  return out;
}

}  // namespace keel::data
