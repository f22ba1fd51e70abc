// Pretraining and supervised fine-tuning on folders.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "data/demonstrations.h"
#include "data/messages.h"
#include "data/tokenizer_export.h"
#include "inference/model_folder.h"
#include "pipelines/stages/operations.h"

namespace keel::pipelines::stages {
namespace {

std::vector<core::TokenSequence> render_file(const fs::path& file, data::ChatFormat format, const data::Tokenizer& tokenizer,
                                             const data::RenderLimits& limits, nlohmann::json& counts) {
  const data::DemonstrationSet set = data::read_demonstrations(file);
  data::RenderedDemonstrations rendered = data::render_demonstrations(set, format, tokenizer, limits);
  core::log_info(fmt::format("{}: {}; rendered: {}", file.string(), to_line(set.counts), to_line(rendered.counts)));
  counts[file.filename().string()] = {{"read", to_json(set.counts)}, {"rendered", to_json(rendered.counts)}};
  if (rendered.sequences.empty()) throw core::DataError(file, 0, "leaves nothing to train on; see the counts above");
  return std::move(rendered.sequences);
}

// Documents of a corpus, every id a target, with the source that each row names.
struct Corpus {
  std::vector<core::TokenSequence> sequences;
  std::map<std::string, policy::Source> sources;
};

// A document's ids and its source; no ids where the row is left out.
std::pair<core::Ids, std::string> read_document(const nlohmann::json& row, data::ChatFormat format, const data::Tokenizer& tokenizer,
                                                data::Counts& counts) {
  std::string source = data::optional_text(row, "source");
  if (source.empty()) source = "text";
  const auto document = data::parse_demonstration(row, counts);
  if (!document) return {{}, source};
  if (document->dialogue.messages.empty()) return {data::render_text(tokenizer, document->text, true, true).ids, source};
  return {data::render(format, tokenizer, document->dialogue).ids, source};
}

Corpus read_corpus(const fs::path& file, data::ChatFormat format, const data::Tokenizer& tokenizer, int64_t row_tokens,
                   nlohmann::json& all_counts) {
  Corpus corpus;
  data::Counts read, rendered;
  core::JsonlReader reader(file);
  for (nlohmann::json row; reader.next(row);) {
    const auto [ids, name] = data::with_place(reader.path(), reader.line(), [&] { return read_document(row, format, tokenizer, read); });
    if (ids.empty()) continue;
    policy::Source& source = corpus.sources[name];
    source.name = name;
    auto parts = policy::split_document(ids, row_tokens);
    ++rendered.kept;
    if (parts.size() > 1) ++rendered.truncated["pieces"];
    for (auto& part : parts) {
      source.sequences.push_back(std::ssize(corpus.sequences));
      corpus.sequences.push_back(std::move(part));
    }
  }
  core::log_info(fmt::format("{}: {}; rendered: {}", file.string(), to_line(read), to_line(rendered)));
  all_counts[file.filename().string()] = {{"read", to_json(read)}, {"rendered", to_json(rendered)}};
  if (corpus.sequences.empty()) throw core::DataError(file, 0, "holds no text to train on");
  return corpus;
}

}  // namespace

std::vector<core::TokenSequence> read_corpus_sequences(const fs::path& file, const inference::LanguageModel& model, int64_t row_tokens,
                                                       nlohmann::json& counts) {
  return std::move(read_corpus(file, model.format, *model.tokenizer, row_tokens, counts).sequences);
}

void pretrain_operation(const PretrainInputs& inputs, policy::LlamaConfig shape, const policy::PretrainConfig& config, uint64_t seed,
                        const fs::path& work) {
  const auto tokenizer = data::load_tokenizer(inputs.tokenizer);
  const auto format = data::parse_chat_format(inputs.chat_format);
  if (shape.vocab_size != policy::LlamaConfig{}.vocab_size && shape.vocab_size != tokenizer->vocab_size())
    throw core::ConfigError(
        {fmt::format("llama.vocab_size is the tokenizer's, {}; leave it out (got {})", tokenizer->vocab_size(), shape.vocab_size)});
  shape.vocab_size = tokenizer->vocab_size();
  const int64_t row_tokens = std::min(config.batch.row_tokens, shape.max_position_embeddings);
  nlohmann::json counts;
  const Corpus corpus = read_corpus(inputs.corpus, format, *tokenizer, row_tokens, counts);
  const Corpus validation = inputs.validation.empty() ? Corpus{} : read_corpus(inputs.validation, format, *tokenizer, row_tokens, counts);
  std::vector<policy::Source> sources;
  for (const auto& [name, source] : corpus.sources)
    sources.push_back(source);
  policy::weigh_sources(sources, corpus.sequences, config.upsample);

  const policy::Llama model = policy::make_llama(shape, seed);
  core::log_info(fmt::format("pretraining {} parameters on {} documents", runtime::count_elements(policy::parameters(model)),
                             corpus.sequences.size()));
  const auto result = policy::train_pretrain(model, corpus.sequences, sources, validation.sequences, config, seed, work);
  core::write_file(work / "counts.json", core::dump_json(counts) + "\n");
  data::write_tokenizer(inputs.tokenizer, work);
  inference::save_language_model(work, model, work, format, {{"stage", "pretrain"}, {"seed", seed}, {"best_step", result.best_step}});
}

void sft_operation(const SftInputs& inputs, const policy::SftConfig& config, uint64_t seed, const fs::path& work) {
  const inference::LanguageModel model = inference::load_language_model(inputs.model, inputs.chat_format);
  const auto limits = inference::limits_within(inputs.limit, std::min(model.llama.config.max_position_embeddings, config.batch.row_tokens));
  nlohmann::json counts;
  const auto train = render_file(inputs.demonstrations, model.format, *model.tokenizer, limits, counts);
  const auto validation = inputs.validation.empty() ? std::vector<core::TokenSequence>{}
                                                    : render_file(inputs.validation, model.format, *model.tokenizer, limits, counts);
  const auto result = policy::train_sft(model.llama, train, validation, config, seed, work);
  core::write_file(work / "counts.json", core::dump_json(counts) + "\n");
  inference::save_language_model(work, model.llama, inputs.model, model.format,
                                 {{"stage", "sft"}, {"seed", seed}, {"best_step", result.best_step}});
}

}  // namespace keel::pipelines::stages
