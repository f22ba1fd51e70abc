// OpenRLHF's serve_rm, slime's remote_rm, LLaMA-Factory's score API.
#include <fmt/format.h>

#include "data/messages.h"
#include "serve/dialects/dialects.h"
#include "serve/dialects/fields.h"

namespace keel::serve::dialects {
namespace {

// Labels are free-form; an object may mark a prompt about safety.
bool marks_hazard(const Json& label) {
  if (!label.is_object()) return false;
  for (const char* name : {"is_safety", "hazard"})
    if (const Json* value = member(label, name); value != nullptr && value->is_boolean() && value->get<bool>()) return true;
  return false;
}

// The names of extra_logs depend on the model alone: clients join them over servers and calls.
Json extra_logs(const Scored& scored, bool combined) {
  if (!combined) return Json::object();
  Json helpfulness = Json::array(), safety = Json::array(), decides = Json::array();
  for (const Score& score : scored.scores) {
    helpfulness.push_back(shortest(score.combined->helpfulness));
    safety.push_back(shortest(score.combined->safety));
    decides.push_back(score.combined->safety_decides ? 1.0 : 0.0);  // a float as the others: clients make tensors of them
  }
  return {{"helpfulness", helpfulness}, {"safety", safety}, {"safety_decides", decides}};
}

Asked openrlhf_request(const Json& body) {
  Asked asked{.model = text_at(body, "model")};
  for (auto& text : text_or_texts_at(body, "query"))
    asked.items.push_back({.content = RenderedText{std::move(text)}});
  if (const Json* labels = member(body, "labels"); labels != nullptr && labels->is_array()) {
    if (labels->size() != asked.items.size() && !labels->empty())
      throw Refused(Trouble::invalid, "\"labels\" and \"query\" must be equally long");
    for (size_t i = 0; i < labels->size(); ++i)
      asked.items[i].hazard = marks_hazard((*labels)[i]);
  }
  asked.reply = [](const Scored& scored) -> Json {
    Json rewards = Json::array(), scores = Json::array();
    for (const Score& score : scored.scores) {
      rewards.push_back(scaled(score, false));
      scores.push_back(scaled(score, true));
    }
    return {{"rewards", rewards}, {"scores", scores}, {"extra_logs", extra_logs(scored, scored.model == "combined")}};
  };
  return asked;
}

Asked slime_request(const Json& body) {
  Asked asked{.model = text_at(body, "model")};
  const Json* prompt = member(body, "prompt");
  const std::string answer = prose_at(body, "response");
  const Json* label = member(body, "label");
  Item item;
  item.hazard = label != nullptr && marks_hazard(*label);
  item.decoded = true;
  if (prompt != nullptr && (prompt->is_string() || is_parts(*prompt))) {
    item.content = RenderedPrompt{text_of(*prompt, "prompt"), answer};
  } else if (prompt != nullptr && prompt->is_array()) {
    Json messages = *prompt;
    messages.push_back({{"role", "assistant"}, {"content", answer}});
    item.content = answered_dialogue(messages, "prompt");
  } else {
    throw Refused(Trouble::invalid, "\"prompt\" must be a string or a list of messages");
  }
  asked.items.push_back(std::move(item));
  asked.reply = [](const Scored& scored) -> Json { return scaled(scored.scores.at(0), false); };
  return asked;
}

}  // namespace

Asked llama_factory_request(const Json& body) {
  Asked asked;
  read_optional_model(body, asked);  // clients name the model that they think is there
  asked.max_tokens = integer_at(body, "max_length", 1, INT32_MAX);
  asked.limit_name = "";
  for (auto& text : texts_at(body, "messages"))
    asked.items.push_back({.content = RenderedText{std::move(text)}});
  asked.reply = [](const Scored& scored) -> Json {
    Json scores = Json::array();
    for (const Score& score : scored.scores)
      scores.push_back(scaled(score, false));
    return {{"id", "scoreval-" + scored.id}, {"object", "score.evaluation"}, {"model", scored.model}, {"scores", scores}};
  };
  return asked;
}

Asked trainer_request(const Json& body) {
  if (has(body, "query")) return openrlhf_request(body);
  if (has(body, "response")) return slime_request(body);  // null is the answer of an aborted rollout: no reward is due
  if (has(body, "messages")) return llama_factory_request(body);
  throw Refused(Trouble::invalid, "\"query\" (OpenRLHF), \"prompt\" and \"response\" (slime) or \"messages\" (LLaMA-Factory) is missing");
}

}  // namespace keel::serve::dialects
