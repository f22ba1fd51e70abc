// An answer while it is written.
#pragma once

#include <algorithm>

#include "core/rng.h"
#include "core/types.h"
#include "policy/generate.h"

namespace keel::policy {

struct LiveAnswer {
  core::Sample* sample;
  core::Stream stream;
  int64_t limit;  // longest answer
  bool alive = true;
};

// `answer` says which prompt and which sample.
inline LiveAnswer start_answer(const Llama& model, const GenerationJob& job, core::Sample& answer) {
  const auto prompt = static_cast<size_t>(answer.prompt);
  const int64_t record = job.first_record + (job.records.empty() ? answer.prompt : job.records.at(prompt));
  const int64_t room = model.config.max_position_embeddings - std::ssize(job.prompts[prompt]);
  const int64_t most = job.limits.empty() ? job.sampling.max_new_tokens : std::min(job.sampling.max_new_tokens, job.limits.at(prompt));
  return {.sample = &answer,
          .stream = core::Stream(job.seed, job.purpose, static_cast<uint64_t>(record), static_cast<uint64_t>(answer.sample)),
          .limit = std::min(most, room)};
}

// Adds one token; false when the answer ends.
inline bool append(LiveAnswer& row, int64_t id, float logprob, const GenerationJob& job) {
  row.sample->ids.push_back(id);
  row.sample->logprobs.push_back(logprob);
  if (job.sampled) job.sampled(row.sample->prompt * job.samples + row.sample->sample, id);
  if (std::find(job.stop_ids.begin(), job.stop_ids.end(), id) != job.stop_ids.end())
    row.sample->finish = core::FinishReason::stop;
  else if (std::ssize(row.sample->ids) < row.limit)
    return true;
  return false;
}

}  // namespace keel::policy
