// vLLM's pooling APIs, and what SGLang names alike.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <bit>

#include "serve/dialects/dialects.h"
#include "serve/dialects/fields.h"

namespace keel::serve::dialects {
namespace {

Json envelope(const char* prefix, const Scored& scored) {
  return {{"id", fmt::format("{}-{}", prefix, scored.id)},
          {"object", "list"},
          {"created", scored.created},
          {"model", scored.model},
          {"usage", usage_of(scored)}};
}

// An envelope with one row a score, each with its index.
template <class Row>
Json list_reply(const char* prefix, const Scored& scored, Row row_of) {
  Json reply = envelope(prefix, scored), rows = Json::array();
  for (const Score& score : scored.scores) {
    Json row = row_of(score);
    row["index"] = rows.size();
    rows.push_back(std::move(row));
  }
  reply["data"] = rows;
  return reply;
}

// "use_activation", formerly "activation": raw scores unless it is true.
bool wants_sigmoid(const Json& body) {
  return flag_at(body, "use_activation", flag_at(body, "activation", false));
}

// -1 is the model's own limit.
void read_truncation(const Json& body, Asked& asked) {
  const auto most = integer_at(body, "truncate_prompt_tokens", -1, INT32_MAX);
  const std::string side = text_at(body, "truncation_side", "left");
  if (side != "left" && side != "right") throw Refused(Trouble::invalid, "\"truncation_side\" must be \"left\" or \"right\"");
  if (most == 0) throw Refused(Trouble::invalid, "\"truncate_prompt_tokens\" must be -1 or at least 1");
  if (!most && !has(body, "truncation_side")) return;
  asked.overlong = side == "left" ? Overlong::keep_end : Overlong::keep_start;
  if (most && *most > 0) asked.max_tokens = most, asked.limit_name = "truncate_prompt_tokens";
}

// "input": a text, texts, ids, or lists of ids; or "messages", one dialogue.
void read_input(const Json& body, Asked& asked) {
  if (has(body, "messages")) {  // what would render them otherwise; it means nothing beside "input", which is not rendered
    refuse_unsupported(body, {"chat_template", "chat_template_kwargs"});
    if (flag_at(body, "add_generation_prompt", false) || flag_at(body, "continue_final_message", false))
      throw Refused(Trouble::invalid,
                    "\"add_generation_prompt\" and \"continue_final_message\" are not supported: an answer is scored at its end");
    asked.items.push_back({.content = answered_at(body, "messages")});
    return;
  }
  const Json* input = member(body, "input");
  if (input == nullptr) throw Refused(Trouble::invalid, "\"input\" or \"messages\" is missing");
  const bool bos = flag_at(body, "add_special_tokens", true);
  const auto add_text = [&](const Json& value) {
    if (!value.is_string() && !is_parts(value))
      throw Refused(Trouble::invalid, "\"input\" must be a string, a list of strings, a list of ids or a list of such lists");
    std::string text = text_of(value, "input");
    if (text.empty()) throw Refused(Trouble::empty, "\"input\" is empty");
    asked.items.push_back({.content = PlainText{std::move(text), bos}});
  };
  if (!is_list(*input)) return add_text(*input);
  if (input->empty()) throw Refused(Trouble::empty, "\"input\" is empty");
  if (input->front().is_number()) {
    asked.items.push_back({.content = ids_of(*input, "input")});
    return;
  }
  for (const Json& one : *input) {
    if (!is_list(one)) {
      add_text(one);
      continue;
    }
    if (one.empty()) throw Refused(Trouble::invalid, "\"input\" holds an empty list");
    asked.items.push_back({.content = ids_of(one, "input")});
  }
}

Asked with_input(const Json& body) {
  Asked asked{.model = text_at(body, "model")};
  read_truncation(body, asked);
  read_input(body, asked);
  return asked;
}

// OpenAI's other form of an embedding: float32, little-endian.
std::string base64_of(double reward) {
  const auto bits = std::bit_cast<uint32_t>(static_cast<float>(reward));
  const std::array<unsigned char, 4> bytes = {static_cast<unsigned char>(bits), static_cast<unsigned char>(bits >> 8),
                                              static_cast<unsigned char>(bits >> 16), static_cast<unsigned char>(bits >> 24)};
  std::array<unsigned char, 9> text{};
  EVP_EncodeBlock(text.data(), bytes.data(), bytes.size());
  return reinterpret_cast<const char*>(text.data());
}

// A side of a pair: a text, or one in an object, {"text"} or vLLM's {"content"}. None may be empty.
std::string side_of(const Json& value, const std::string& name) {
  const Json* text = !value.is_object() ? &value : has(value, "content") ? member(value, "content") : member(value, "text");
  if (text == nullptr) throw Refused(Trouble::invalid, fmt::format("\"{}\" holds an object without \"text\" and \"content\"", name));
  std::string side = text_of(*text, name);
  if (side.empty()) throw Refused(Trouble::empty, fmt::format("\"{}\" holds an empty text", name));
  return side;
}

// A side or a list of sides.
std::vector<std::string> sides_at(const Json& body, const std::string& name) {
  const Json& value = *member(body, name);
  if (!is_list(value)) return {side_of(value, name)};
  std::vector<std::string> sides;
  for (const Json& one : value)
    sides.push_back(side_of(one, name));
  if (sides.empty()) throw Refused(Trouble::empty, fmt::format("\"{}\" is empty", name));
  return sides;
}

// SGLang's own /classify.
Asked sglang_request(const Json& body) {
  Asked asked{.model = text_at(body, "model")};
  for (auto& text : text_or_texts_at(body, "text")) {
    if (text.empty()) throw Refused(Trouble::empty, "\"text\" is empty");
    asked.items.push_back({.content = PlainText{std::move(text)}});
  }
  if (asked.items.empty()) throw Refused(Trouble::empty, "\"text\" is empty");
  asked.reply = [](const Scored& scored) {
    Json rows = Json::array();
    for (const Score& score : scored.scores)
      rows.push_back({{"embedding", {scaled(score, false)}}, {"meta_info", {{"id", scored.id}, {"prompt_tokens", score.tokens}}}});
    return rows;
  };
  return asked;
}

}  // namespace

Asked classify_request(const Json& body) {
  if (has(body, "text") && !has(body, "input") && !has(body, "messages")) return sglang_request(body);
  Asked asked = with_input(body);
  asked.reply = [sigmoid = wants_sigmoid(body)](const Scored& scored) {
    return list_reply("classify", scored, [&](const Score& score) -> Json {
      return {{"label", "score"}, {"probs", {scaled(score, sigmoid)}}, {"num_classes", 1}};
    });
  };
  return asked;
}

Asked score_request(const Json& body) {
  Asked asked{.model = text_at(body, "model")};
  read_truncation(body, asked);
  static const std::vector<std::pair<std::string, std::string>> kPairs = {
      {"queries", "documents"}, {"queries", "items"}, {"text_1", "text_2"}, {"data_1", "data_2"}};
  const auto pair =
      std::find_if(kPairs.begin(), kPairs.end(), [&](const auto& one) { return has(body, one.first) && has(body, one.second); });
  if (pair == kPairs.end())
    throw Refused(Trouble::invalid,
                  "one of the pairs \"queries\" and \"documents\", \"queries\" and \"items\", \"text_1\" and \"text_2\", \"data_1\" and "
                  "\"data_2\" is needed");
  const auto first = sides_at(body, pair->first), second = sides_at(body, pair->second);
  if (first.size() != 1 && first.size() != second.size())
    throw Refused(Trouble::invalid, fmt::format("\"{}\" must be one text, or as many as \"{}\"", pair->first, pair->second));
  for (size_t i = 0; i < second.size(); ++i)
    asked.items.push_back({.content = PromptAndAnswer{first[first.size() == 1 ? 0 : i], second[i]}});
  asked.reply = [sigmoid = wants_sigmoid(body)](const Scored& scored) {
    return list_reply("score", scored, [&](const Score& score) -> Json {
      return {{"object", "score"}, {"score", scaled(score, sigmoid)}};
    });
  };
  return asked;
}

Asked rerank_request(const Json& body) {
  Asked asked{.model = text_at(body, "model")};
  read_truncation(body, asked);
  asked.max_answer_tokens = integer_at(body, "max_tokens_per_doc", 0, INT32_MAX).value_or(0);
  const Json *given = member(body, "query"), *list = member(body, "documents");
  if (given == nullptr || is_list(*given)) throw Refused(Trouble::invalid, "\"query\" must be a string");
  if (list == nullptr || !is_list(*list)) throw Refused(Trouble::invalid, "\"documents\" must be a list of strings");
  const std::string query = side_of(*given, "query");
  const auto documents = sides_at(body, "documents");
  for (const auto& document : documents)
    asked.items.push_back({.content = PromptAndAnswer{query, document}});
  const auto top = integer_at(body, "top_n", 0, INT32_MAX).value_or(0);
  asked.reply = [=, sigmoid = wants_sigmoid(body)](const Scored& scored) -> Json {
    std::vector<size_t> order = ranked(scored);
    if (top > 0 && std::ssize(order) > top) order.resize(static_cast<size_t>(top));
    Json results = Json::array();
    for (const size_t i : order)
      results.push_back({{"index", i}, {"document", {{"text", documents[i]}}}, {"relevance_score", scaled(scored.scores[i], sigmoid)}});
    return {{"id", "rerank-" + scored.id}, {"model", scored.model}, {"usage", usage_of(scored)}, {"results", results}};
  };
  return asked;
}

Asked pooling_request(const Json& body) {
  if (const auto task = text_at(body, "task", "classify"); task != "classify")
    throw Refused(Trouble::invalid, "\"task\" must be \"classify\": a reward model has nothing else to pool");
  if (const auto encoding = text_at(body, "encoding_format", "float"); encoding != "float")
    throw Refused(Trouble::invalid, "\"encoding_format\" must be \"float\"");
  Asked asked = with_input(body);
  asked.reply = [sigmoid = wants_sigmoid(body)](const Scored& scored) {
    return list_reply("pool", scored, [&](const Score& score) -> Json {
      return {{"object", "pooling"}, {"data", {scaled(score, sigmoid)}}};
    });
  };
  return asked;
}

Asked embeddings_request(const Json& body) {
  const std::string encoding = text_at(body, "encoding_format", "float");
  if (encoding != "float" && encoding != "base64") throw Refused(Trouble::invalid, "\"encoding_format\" must be \"float\" or \"base64\"");
  Asked asked = with_input(body);
  asked.reply = [base64 = encoding == "base64"](const Scored& scored) {
    return list_reply("embd", scored, [&](const Score& score) -> Json {
      const double reward = scaled(score, false);
      return {{"object", "embedding"}, {"embedding", base64 ? Json(base64_of(reward)) : Json({reward})}};
    });
  };
  return asked;
}

}  // namespace keel::serve::dialects
