// POST /tokenize, of TEI and of vLLM.
#include "serve/dialects/dialects.h"
#include "serve/dialects/fields.h"

namespace keel::serve::dialects {

// A list a text, of one text, too.
Asked tei_tokenize_request(const Json& body) {
  Asked asked;
  read_optional_model(body, asked);
  asked.lists_tokens = true;
  asked.most_items = kMostTeiTexts;
  const bool bos = flag_at(body, "add_special_tokens", true);
  for (auto& text : text_or_texts_at(body, "inputs")) {
    if (text.empty()) throw Refused(Trouble::empty, "\"inputs\" is empty");
    asked.items.push_back({.content = PlainText{std::move(text), bos}});
  }
  if (asked.items.empty()) throw Refused(Trouble::empty, "\"inputs\" is empty");
  asked.reply = [](const Scored& scored) {
    const auto place = [](const std::optional<int64_t>& byte) { return byte ? Json(*byte) : Json(nullptr); };
    Json all = Json::array();
    for (const Score& score : scored.scores) {
      Json& tokens = all.emplace_back(Json::array());
      for (const Token& token : score.listed)
        tokens.push_back({{"id", token.id},
                          {"text", token.text},
                          {"special", token.special},
                          {"start", place(token.begin)},
                          {"stop", place(token.end)}});
    }
    return all;
  };
  return asked;
}

Asked tokenize_request(const Json& body) {
  Asked asked{.model = text_at(body, "model")};
  asked.lists_tokens = true;
  if (has(body, "messages")) {  // a dialogue that ends with a user turn is a prompt, ready for its answer
    refuse_unsupported(body, {"chat_template", "chat_template_kwargs"});
    if (flag_at(body, "continue_final_message", false))
      throw Refused(Trouble::invalid, "\"continue_final_message\" is not supported: an answer ends with its turn");
    asked.items.push_back({.content = dialogue_of(*member(body, "messages"), "messages")});
  } else {
    if (!has(body, "prompt")) throw Refused(Trouble::invalid, "\"prompt\" or \"messages\" (vLLM) or \"inputs\" (TEI) is missing");
    asked.items.push_back({.content = PlainText{prose_at(body, "prompt"), flag_at(body, "add_special_tokens", true)}});
  }
  asked.reply = [with_texts = flag_at(body, "return_token_strs", false)](const Scored& scored) -> Json {
    Json ids = Json::array(), texts = Json::array();
    for (const Token& token : scored.scores.at(0).listed)
      ids.push_back(token.id), texts.push_back(token.text);
    return {
        {"count", ids.size()}, {"max_model_len", scored.most_tokens}, {"tokens", ids}, {"token_strs", with_texts ? texts : Json(nullptr)}};
  };
  return asked;
}

}  // namespace keel::serve::dialects
