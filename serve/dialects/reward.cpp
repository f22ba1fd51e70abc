// keel's own: POST /v1/reward and /v1/logprobs.
#include <fmt/format.h>

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
    item.content = PromptAndAnswer{text_at(value, "prompt"), text_at(value, "response")};
  }
  if (const Json* ids = member(value, "ids")) {
    ++given;
    if (!ids->is_array()) throw Refused(Trouble::invalid, "\"ids\" must be a list of ids");
    item.content = ids_of(*ids, "ids");
  }
  if (text_too && has(value, "text")) ++given, item.content = PlainText{text_at(value, "text")};
  if (given != 1)
    throw Refused(Trouble::invalid, fmt::format("an input needs one of \"messages\", \"prompt\" with \"response\"{} \"ids\"{}",
                                                text_too ? "," : " and", text_too ? " and \"text\"" : ""));
  return item;
}

// The body itself, or those under "inputs".
void read_inputs(const Json& body, bool text_too, Asked& asked) {
  const Json* inputs = member(body, "inputs");
  if (inputs == nullptr) {
    asked.items.push_back(item_of(body, text_too));
    return;
  }
  if (!inputs->is_array()) throw Refused(Trouble::invalid, "\"inputs\" must be a list");
  for (const Json& one : *inputs)
    asked.items.push_back(item_of(one, text_too));
}

Json row_of(const Score& score, const Scored& scored) {
  Json row = {{"score", scaled(score, false)},
              {"probability", scaled(score, true)},
              {"tokens", score.tokens},
              {"truncated", score.truncated},
              {"cut", score.cut}};
  if (score.combined) {
    const auto side = [&](double raw) -> Json { return {{"score", shortest(raw)}, {"probability", scaled({.raw = raw}, true)}}; };
    row["scores"] = {{"helpfulness", side(score.combined->helpfulness)}, {"safety", side(score.combined->safety)}};
    row["gate"] = {{"decides", score.combined->safety_decides ? "safety" : "helpfulness"}, {"threshold", scored.gate}};
  }
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
  read_inputs(body, true, asked);
  asked.reply = [list = has(body, "inputs")](const Scored& scored) {
    Json reply = {{"id", "reward-" + scored.id},
                  {"model", scored.model},
                  {"model_sha", scored.digest},
                  {"created", scored.created},
                  {"metadata", scored.metadata}};
    if (!list) {
      reply.update(row_of(scored.scores.at(0), scored));
      return reply;
    }
    Json rows = Json::array();
    for (const Score& score : scored.scores) {
      rows.push_back(row_of(score, scored));
      rows.back()["index"] = rows.size() - 1;
    }
    reply["data"] = rows;
    return reply;
  };
  return asked;
}

Asked logprobs_request(const Json& body) {
  Asked asked{.model = text_at(body, "model")};
  read_inputs(body, false, asked);
  return asked;
}

}  // namespace keel::serve::dialects
