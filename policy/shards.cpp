#include "policy/shards.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/jsonl.h"
#include "core/progress.h"

namespace keel::policy {

nlohmann::json to_json(const core::Sample& sample) {
  return {{"prompt", sample.prompt},
          {"sample", sample.sample},
          {"ids", sample.ids},
          {"logprobs", sample.logprobs},
          {"finish_reason", core::name_of(sample.finish)}};
}

core::Sample sample_from_json(const nlohmann::json& row) {
  return {
      .prompt = row.at("prompt").get<int64_t>(),
      .sample = row.at("sample").get<int64_t>(),
      .ids = row.at("ids").get<core::Ids>(),
      .logprobs = row.at("logprobs").get<std::vector<float>>(),
      .finish = row.at("finish_reason") == core::name_of(core::FinishReason::stop) ? core::FinishReason::stop : core::FinishReason::length};
}

std::vector<core::Sample> generate_in_shards(Generator& generator, const GenerationJob& job, const std::string& label,
                                             const std::filesystem::path& folder) {
  const auto shards = folder / "ckpt" / label;
  core::make_directories(shards);
  // A shard is a few batches: large enough to make writing cheap, small enough to make its loss cheap.
  const int64_t shard_prompts = std::max<int64_t>(1, 4 * job.batch_rows / job.samples);
  const auto count = static_cast<int64_t>(job.prompts.size());
  std::vector<core::Sample> all;
  core::Progress progress(label, count * job.samples, "answers");
  for (int64_t begin = 0; begin < count; begin += shard_prompts) {
    const int64_t end = std::min(count, begin + shard_prompts);
    const auto file = shards / fmt::format("{:06d}.jsonl", begin);
    std::vector<core::Sample> shard;
    if (std::filesystem::exists(file)) {
      core::JsonlReader reader(file);
      for (nlohmann::json row; reader.next(row);)
        shard.push_back(sample_from_json(row));
      if (std::ssize(shard) != (end - begin) * job.samples || shard.front().prompt != begin)
        throw core::DataError(file, 0, "holds other answers than this stage asks for; delete it to sample them again");
    } else {
      GenerationJob part = job;
      part.prompts = {job.prompts.begin() + begin, job.prompts.begin() + end};
      if (job.records.empty())
        part.first_record = job.first_record + begin;
      else
        part.records = {job.records.begin() + begin, job.records.begin() + end};
      if (!job.limits.empty()) part.limits = {job.limits.begin() + begin, job.limits.begin() + end};
      part.done = {};
      shard = generator.generate(part);
      core::JsonlWriter writer(file);
      for (auto& sample : shard) {
        sample.prompt += begin;
        writer.write(to_json(sample));
      }
      writer.commit();
    }
    std::move(shard.begin(), shard.end(), std::back_inserter(all));
    progress.update(end * job.samples);
  }
  return all;
}

std::vector<core::Sample> generate_in_shards(const Llama& model, const GenerationJob& job, const std::string& label,
                                             const std::filesystem::path& folder) {
  Generator generator(model);
  return generate_in_shards(generator, job, label, folder);
}

}  // namespace keel::policy
