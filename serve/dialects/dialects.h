// The forms in which clients ask for scores, each read into Asked with the function that writes its reply. Contracts: docs/serving.md.
#pragma once

#include <string>

#include "serve/dialects/asked.h"

namespace keel::serve::dialects {

// By whose clients a path is used: they differ in the statuses and the form of errors.
enum class Family { trainer, vllm, tei };

inline constexpr int64_t kMostTeiTexts = 32;  // its --max-client-batch-size

// Each takes the parsed body, an object, and throws Refused. Lists may be empty where the dialect allows it.
Asked trainer_request(const nlohmann::json& body);        // OpenRLHF, slime, LLaMA-Factory: told apart by their members
Asked llama_factory_request(const nlohmann::json& body);  // /v1/score/evaluation
Asked reward_request(const nlohmann::json& body);         // /v1/reward: keel's own
Asked logprobs_request(const nlohmann::json& body);  // /v1/logprobs: inputs of /v1/reward but "text"; no function that writes the reply
Asked classify_request(const nlohmann::json& body);  // vLLM, and SGLang's own
Asked score_request(const nlohmann::json& body);     // vLLM: pairs
Asked rerank_request(const nlohmann::json& body);    // vLLM, Jina, Cohere
Asked tei_rerank_request(const nlohmann::json& body);
Asked pooling_request(const nlohmann::json& body);     // vLLM, task "classify"
Asked embeddings_request(const nlohmann::json& body);  // OpenAI's embeddings with the reward in them, for verl on SGLang
Asked predict_request(const nlohmann::json& body);     // TEI

Asked tokenize_request(const nlohmann::json& body);      // vLLM: "prompt" or "messages"
Asked tei_tokenize_request(const nlohmann::json& body);  // "inputs"

int status_of(Trouble trouble, Family family);

// The body of an error, at most 1 KiB, in the form of the family; TEI's has none for 401. The second is for what is refused before the body
// is read, e.g. 404.
std::string error_body(Family family, Trouble trouble, const std::string& reason);
std::string error_body(Family family, int status, const std::string& reason);

}  // namespace keel::serve::dialects
