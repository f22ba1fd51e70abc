// Hugging Face's text-embeddings-inference (TEI).
#include "serve/dialects/dialects.h"
#include "serve/dialects/fields.h"

namespace keel::serve::dialects {
namespace {

// "truncate": true keeps the side that "truncation_direction" does not cut, false refuses; the service's choice where it is missing.
void read_direction_(const Json& body, Asked& asked) {
  const std::string direction = text_at(body, "truncation_direction", "Right");
  const bool left = direction == "Left" || direction == "left";
  if (!left && direction != "Right" && direction != "right") throw Refused(400, "\"truncation_direction\" must be \"Left\" or \"Right\"");
  if (!has(body, "truncate")) {
    if (has(body, "truncation_direction")) asked.overlong = left ? Overlong::keep_end : Overlong::keep_start;
    return;
  }
  asked.overlong = !flag_at(body, "truncate", false) ? Overlong::refuse : left ? Overlong::keep_end : Overlong::keep_start;
}

// A text, or a list of one text or of two: an answer and the prompt before it.
Item text_or_pair(const Json& value) {
  std::vector<std::string> texts;
  for (const Json& one : value.is_array() ? value : Json::array({value})) {
    if (!one.is_string()) throw Refused(400, "\"inputs\" must be a string, a list of one or two strings, or a list of such lists");
    texts.push_back(one.get<std::string>());
    if (texts.back().empty()) throw Refused(400, "\"inputs\" is empty");
  }
  if (texts.size() == 1) return {.content = PlainText{texts[0]}};
  if (texts.size() == 2) return {.content = PromptAndAnswer{texts[0], texts[1]}};
  throw Refused(400, "\"inputs\" must be a string, a list of one or two strings, or a list of such lists");
}

Asked read_predict(const Json& body) {
  Asked asked;
  asked.most_items = kMostTeiTexts;
  read_direction_(body, asked);
  const Json* inputs = find(body, "inputs");
  if (inputs == nullptr) throw Refused(400, "\"inputs\" is missing");
  if (inputs->is_array() && inputs->empty()) throw Refused(400, "\"inputs\" is empty");
  const bool batch = inputs->is_array() && inputs->front().is_array();
  if (batch)
    for (const Json& one : *inputs) {
      if (!one.is_array()) throw Refused(400, "\"inputs\" must be a string, a list of one or two strings, or a list of such lists");
      asked.items.push_back(text_or_pair(one));
    }
  else
    asked.items.push_back(text_or_pair(*inputs));
  const bool raw = flag_at(body, "raw_scores", false);
  asked.reply = [batch, raw](const Scored& scored) {
    Json rows = Json::array();
    for (const Score& score : scored.scores)
      rows.push_back(Json::array({{{"score", scaled(score, !raw)}, {"label", "score"}}}));
    return batch ? rows : rows.at(0);
  };
  return asked;
}

Asked read_rerank(const Json& body) {
  Asked asked;
  asked.most_items = kMostTeiTexts;
  read_direction_(body, asked);
  const Json* query = find(body, "query");
  if (query == nullptr || !query->is_string()) throw Refused(400, "\"query\" must be a string");
  const auto texts = texts_at(body, "texts");
  if (texts.empty()) throw Refused(400, "\"texts\" is empty");
  for (const auto& text : texts)
    asked.items.push_back({.content = PromptAndAnswer{*query, text}});
  const bool raw = flag_at(body, "raw_scores", false), with_text = flag_at(body, "return_text", false);
  asked.reply = [=](const Scored& scored) {
    Json rows = Json::array();
    for (const size_t i : ranked(scored)) {
      rows.push_back({{"index", i}, {"score", scaled(scored.scores[i], !raw)}});
      if (with_text) rows.back()["text"] = texts[i];
    }
    return rows;
  };
  return asked;
}

// What is no input is 422 here, what is empty 400.
Asked with_statuses(Asked (*read)(const Json&), const Json& body) {
  try {
    return read(body);
  } catch (const Refused& refused) {
    throw Refused(std::string_view(refused.what()).ends_with("is empty") ? 400 : 422, refused.what());
  }
}

}  // namespace

Asked predict_request(const Json& body) {
  return with_statuses(read_predict, body);
}

Asked tei_rerank_request(const Json& body) {
  return with_statuses(read_rerank, body);
}

}  // namespace keel::serve::dialects
