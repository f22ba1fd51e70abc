// keel's own: POST /v1/reward and /v1/logprobs.
#include <fmt/format.h>

#include <array>

#include "serve/dialects/dialects.h"
#include "serve/dialects/fields.h"

namespace keel::serve::dialects {
namespace {

// {"messages"}, {"prompt", "response"}, {"ids"} or {"text"} (raw), each with "hazard"; or a list of messages by itself.
Item item_of(const Json& value, bool text_too) {
  if (value.is_array()) return {.content = answered_dialogue(value, "inputs")};
  if (!value.is_object()) throw Refused(Trouble::invalid, "each of \"inputs\" must be a list of messages or an object");
  Item item{.content = {}, .hazard = flag_at(value, "hazard", false)};
  int given = 0;
  if (has(value, "messages")) ++given, item.content = answered_at(value, "messages");
  if (has(value, "prompt")) {
    ++given;
    if (!has(value, "response")) throw Refused(Trouble::invalid, "\"prompt\" needs the \"response\" to score");
    item.content = PromptAndAnswer{prose_at(value, "prompt"), prose_at(value, "response")};
  }
  if (const Json* ids = member(value, "ids")) {
    ++given;
    if (!ids->is_array()) throw Refused(Trouble::invalid, "\"ids\" must be a list of ids");
    item.content = ids_of(*ids, "ids");
  }
  if (text_too && has(value, "text")) ++given, item.content = PlainText{prose_at(value, "text")};
  if (given != 1)
    throw Refused(Trouble::invalid, fmt::format("an input needs one of \"messages\", \"prompt\" with \"response\"{} \"ids\"{}",
                                                text_too ? "," : " and", text_too ? " and \"text\"" : ""));
  return item;
}

// "input": a text, texts, ids or lists of ids, as "text" and "ids" of an input.
Item plain_item(const Json& value) {
  if (is_list(value)) return {.content = ids_of(value, "input")};
  return {.content = PlainText{text_of(value, "input")}};
}

// The names of lists of inputs. The last three are those that other clients know; "input" need not be a list.
constexpr std::array kLists = {"inputs", "conversations", "pairs", "input"};

// Which of them the body has; nullptr: it is the input itself. Two forms in one request are refused.
const char* list_name(const Json& body, bool text_too) {
  const char* found = nullptr;
  const auto count = [&](const char* name) {
    if (!has(body, name)) return;
    if (found != nullptr) throw Refused(Trouble::invalid, fmt::format("\"{}\" and \"{}\" stand in one request: give one", found, name));
    found = name;
  };
  for (const char* name : kLists)
    if (text_too || name == kLists[0]) count(name);
  if (found == nullptr) return nullptr;
  for (const char* name : {"messages", "prompt", "response", "ids", "text"})
    count(name);
  return found;
}

// The body itself, or those in a list. True for a list.
bool read_inputs(const Json& body, bool text_too, Asked& asked) {
  const char* name = list_name(body, text_too);
  if (name == nullptr) {
    asked.items.push_back(item_of(body, text_too));
    return false;
  }
  const Json& inputs = *member(body, name);
  const bool plain = name == kLists[3];
  if (plain && (!is_list(inputs) || (!inputs.empty() && inputs.front().is_number()))) {
    asked.items.push_back(plain_item(inputs));
    return true;
  }
  if (!inputs.is_array()) throw Refused(Trouble::invalid, fmt::format("\"{}\" must be a list", name));
  for (const Json& one : inputs) {
    if (one.is_object())
      for (const char* of_all : {"model", "max_tokens", "overlong", "return_tokens", "return"})
        if (has(one, of_all)) throw Refused(Trouble::invalid, fmt::format("\"{}\" stands beside \"{}\", for all of them", of_all, name));
    asked.items.push_back(plain ? plain_item(one) : item_of(one, text_too));
  }
  return true;
}

// "return": every reply holds what it may name but the tokens as text, and "logit" and "sigmoid" under these names.
std::vector<std::string> read_return(const Json& body, Asked& asked) {
  std::vector<std::string> more;
  if (!has(body, "return")) return more;
  for (const auto& name : texts_at(body, "return")) {
    if (name == "tokens") asked.with_tokens = true;
    if (name == "raw" || name == "logit" || name == "sigmoid")
      more.push_back(name);
    else if (name != "tokens" && name != "per_model")
      throw Refused(Trouble::invalid, "\"return\" must list \"raw\", \"logit\", \"sigmoid\", \"tokens\" or \"per_model\"");
  }
  return more;
}

Json row_of(const Score& score, const Scored& scored, const std::vector<std::string>& more) {
  Json row = {{"score", scaled(score, false)}, {"reward", scaled(score, false)}, {"probability", scaled(score, true)},
              {"tokens", score.tokens},        {"truncated", score.truncated},   {"cut", score.cut}};
  if (score.combined) {
    const auto side = [&](double raw) -> Json { return {{"score", shortest(raw)}, {"probability", scaled({.raw = raw}, true)}}; };
    row["scores"] = {
        {"helpfulness", side(score.combined->helpfulness)}, {"safety", side(score.combined->safety)}, {"combined", side(score.raw)}};
    row["gate"] = {{"decides", score.combined->safety_decides ? "safety" : "helpfulness"}, {"threshold", scored.gate}};
  }
  for (const auto& name : more)
    row[name] = scaled(score, name == "sigmoid");
  if (!score.pieces.empty()) row["token_texts"] = score.pieces, row["answer_tokens"] = score.answer_tokens;
  return row;
}

}  // namespace

Asked reward_request(const Json& body) {
  Asked asked{
      .model = text_at(body, "model"), .items = {}, .overlong = Overlong::own, .max_tokens = integer_at(body, "max_tokens", 1, INT32_MAX)};
  const std::string overlong = text_at(body, "overlong", "own");
  if (overlong == "keep_end")
    asked.overlong = Overlong::keep_end;
  else if (overlong == "keep_start")
    asked.overlong = Overlong::keep_start;
  else if (overlong == "refuse")
    asked.overlong = Overlong::refuse;
  else if (overlong != "own")
    throw Refused(Trouble::invalid, "\"overlong\" must be \"own\", \"keep_end\", \"keep_start\" or \"refuse\"");
  asked.with_tokens = flag_at(body, "return_tokens", false);
  const auto more = read_return(body, asked);
  asked.reply = [more, list = read_inputs(body, true, asked)](const Scored& scored) {
    Json reply = {{"id", "reward-" + scored.id},
                  {"model", scored.model},
                  {"model_sha", scored.digest},
                  {"created", scored.created},
                  {"metadata", scored.metadata},
                  {"usage", usage_of(scored)},
                  {"timings",
                   {{"tokenization_ms", scored.timings.tokenization},
                    {"queue_ms", scored.timings.queue},
                    {"inference_ms", scored.timings.inference},
                    {"total_ms", scored.timings.total}}}};
    if (!list) {
      reply.update(row_of(scored.scores.at(0), scored, more));
      return reply;
    }
    Json rows = Json::array();
    for (const Score& score : scored.scores) {
      rows.push_back(row_of(score, scored, more));
      rows.back()["index"] = rows.size() - 1;
    }
    reply["data"] = rows;
    return reply;
  };
  return asked;
}

Asked logprobs_request(const Json& body) {
  Asked asked{.model = text_at(body, "model"), .overlong = Overlong::refuse};
  read_inputs(body, false, asked);
  return asked;
}

}  // namespace keel::serve::dialects
