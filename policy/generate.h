// Batched generation with a key/value cache. The ids it returns are the ids that are scored and trained on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/types.h"
#include "policy/llama.h"

namespace keel::policy {

struct SamplingConfig {
  double temperature = 1.0;      // 0 = greedy
  double top_p = 1.0;            // smallest set of tokens with this mass; a token is kept while the mass before it is <= top_p
  int64_t top_k = 0;             // 0 = all tokens
  int64_t max_new_tokens = 256;  // answers that do not stop end here, with finish reason "length"
};

inline void visit(SamplingConfig& config, core::Fields& fields) {
  fields("temperature", config.temperature, "divides the logits; 0 = greedy",
         {.rule = "0 or at least 0.01", .number = [](double value) { return value == 0 || value >= 0.01; }, .text = {}});
  fields("top_p", config.top_p, "nucleus mass; 1 = off", core::between(0, 1));
  fields("top_k", config.top_k, "most likely tokens kept; 0 = off", core::at_least(0));
  fields("max_new_tokens", config.max_new_tokens, "longest answer in tokens", core::at_least(1));
}

// Prompts, sampling settings and the source of random draws. The draws of an answer are keyed by (seed, purpose, record of its prompt,
// sample index), one draw a token. A prompt's record is `first_record` plus its index or, if there are, its entry in `records`.
struct GenerationJob {
  std::vector<core::Ids> prompts = {};
  int64_t samples = 1;  // answers to each prompt
  SamplingConfig sampling = {};
  std::vector<int64_t> limits = {};    // of the answers to each prompt, where they end before sampling.max_new_tokens; empty = nowhere
  std::vector<int64_t> stop_ids = {};  // an answer ends after any of these, and keeps it
  uint64_t seed = 0;
  std::string purpose = "generate";
  int64_t first_record = 0;
  std::vector<int64_t> records = {};                             // of each prompt, where they are not its indices: some were left out
  int64_t batch_rows = 64;                                       // most answers decoded together; memory against speed, same answers
  std::function<void(int64_t finished)> done = {};               // called now and then with the number of finished answers
  std::function<void(int64_t answer, int64_t id)> sampled = {};  // called with every token and the index of its answer, by the threads
};

// The answers in the order prompt 0 sample 0, prompt 0 sample 1, ... One ends at a stop id, after max_new_tokens, at the limit of
// its prompt or at the model's context length. Recorded log-probs are those of softmax(logits / temperature) before top-p and top-k (T = 0:
// of T = 1), fp32. Throws core::Interrupted on SIGTERM, c10::Error for an empty prompt, one that leaves no room in the context, ids outside
// the vocabulary, and batch_rows below 1.
std::vector<core::Sample> generate(const Llama& model, const GenerationJob& job);

// Whether the log-probs that generate() records are those of hidden_states() and state_logprobs() at the job's temperature (above 0), to
// the bit.
bool records_exactly(const Llama& model);

}  // namespace keel::policy
