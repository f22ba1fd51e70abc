// The types that several folders exchange.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace keel::core {

using Ids = std::vector<int64_t>;  // token ids

// A prompt with its answer, both as they were tokenised. Scoring and training use these ids, never text encoded again.
inline Ids joined(Ids prompt, const Ids& answer) {
  prompt.insert(prompt.end(), answer.begin(), answer.end());
  return prompt;
}

// The ids that a model reads, and which of them are training targets.
struct TokenSequence {
  Ids ids;
  std::vector<bool> loss_mask;  // one per id; true = this id is a training target (it is predicted from the ids before it)
};

struct Message {
  std::string role;  // "system" | "user" | "assistant"
  std::string content;
  bool learned = true;  // false: an answer that is context alone, no training target ("weight": 0 in files)
  bool operator==(const Message&) const = default;
};

struct Dialogue {
  std::vector<Message> messages;
  bool operator==(const Dialogue&) const = default;
};

// What a model said, as text.
struct Answer {
  std::string text;
  bool finished = true;  // it ended by itself, not at a length limit
};

// Two answers to one prompt and the annotator's choice between them (paper 3.2.1).
struct PreferencePair {
  Dialogue prompt;  // ends with a user turn
  std::string chosen;
  std::string rejected;
  int strength = 0;  // 1 negligibly better or unsure, 2 slightly, 3 better, 4 significantly; 0 = not recorded
  std::optional<bool> chosen_safe;
  std::optional<bool> rejected_safe;
  std::string source;  // free text, for statistics by source
  std::string batch;   // collection batch, for held-out sets by batch
};

// A preference pair as the reward model reads it: both sides are prompt + answer, rendered and finished.
struct TokenPair {
  Ids chosen;
  Ids rejected;
  int strength = 0;  // as in PreferencePair
  std::optional<bool> chosen_safe;
  std::optional<bool> rejected_safe;
};

enum class FinishReason { stop, length };

// The name in files and replies.
constexpr const char* name_of(FinishReason finish) {
  return finish == FinishReason::stop ? "stop" : "length";
}

// One generated answer. The ids made here are the ids that are scored and trained on; they are never decoded and encoded again.
struct Sample {
  int64_t prompt = 0;           // index of the prompt
  int64_t sample = 0;           // 0..K-1
  Ids ids;                      // the answer alone, the EOS that ended it included
  std::vector<float> logprobs;  // nats, one per id, of the sampling distribution before top-p and top-k
  FinishReason finish = FinishReason::length;
};

// An answer and its reward. A probability is never called a score: scores are raw (logits), and sigmoid(score) is the probability.
struct ScoredSample {
  Sample sample;
  double probability = 0;  // its reward, in [0, 1]
};

}  // namespace keel::core
