// Hugging Face's text-embeddings-inference (TEI).
#include <algorithm>

#include "serve/dialects/dialects.h"
#include "serve/dialects/fields.h"

namespace keel::serve::dialects {
namespace {

constexpr const char* kForms = "\"inputs\" must be a string, a list of one or two strings, or a list of such lists";

// "truncate": true keeps the side that "truncation_direction" does not cut, false refuses; the service's choice where it is missing.
void read_direction(const Json& body, Asked& asked) {
  const std::string direction = text_at(body, "truncation_direction", "Right");
  const bool left = direction == "Left" || direction == "left";
  if (!left && direction != "Right" && direction != "right")
    throw Refused(Trouble::invalid, "\"truncation_direction\" must be \"Left\" or \"Right\"");
  if (!has(body, "truncate")) {
    if (has(body, "truncation_direction")) asked.overlong = left ? Overlong::keep_end : Overlong::keep_start;
    return;
  }
  asked.overlong = !flag_at(body, "truncate", false) ? Overlong::refuse : left ? Overlong::keep_end : Overlong::keep_start;
}

// A text, or a list of one text or of two: a prompt and its answer. As in TEI a pair is empty where both are.
Item text_or_pair(const Json& value) {
  std::vector<std::string> texts;
  for (const Json& one : is_list(value) ? value : Json::array({value})) {
    if (!one.is_string() && !is_parts(one)) throw Refused(Trouble::invalid, kForms);
    texts.push_back(text_of(one, "inputs"));
  }
  if (!texts.empty() && std::ranges::all_of(texts, &std::string::empty)) throw Refused(Trouble::empty, "\"inputs\" is empty");
  if (texts.size() == 1) return {.content = PlainText{texts[0]}};
  if (texts.size() == 2) return {.content = PromptAndAnswer{texts[0], texts[1]}};
  throw Refused(Trouble::invalid, kForms);
}

}  // namespace

Asked predict_request(const Json& body) {
  Asked asked;
  read_optional_model(body, asked);
  asked.most_items = kMostTeiTexts;
  read_direction(body, asked);
  const Json* inputs = member(body, "inputs");
  if (inputs == nullptr) throw Refused(Trouble::invalid, "\"inputs\" is missing");
  if (inputs->is_array() && inputs->empty()) throw Refused(Trouble::empty, "\"inputs\" is empty");
  const bool batch = is_list(*inputs) && is_list(inputs->front());
  if (batch)
    for (const Json& one : *inputs) {
      if (!is_list(one)) throw Refused(Trouble::invalid, kForms);
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

Asked tei_rerank_request(const Json& body) {
  Asked asked;
  read_optional_model(body, asked);
  asked.most_items = kMostTeiTexts;
  read_direction(body, asked);
  const std::string query = prose_at(body, "query");
  const auto texts = texts_at(body, "texts");
  if (texts.empty()) throw Refused(Trouble::empty, "\"texts\" is empty");
  for (const auto& text : texts) {
    if (query.empty() && text.empty()) throw Refused(Trouble::empty, "\"query\" and one of \"texts\" are empty");  // TEI's rule of a pair
    asked.items.push_back({.content = PromptAndAnswer{query, text}});
  }
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

}  // namespace keel::serve::dialects
