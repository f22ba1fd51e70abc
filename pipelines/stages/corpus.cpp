#include "pipelines/stages/corpus.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "data/demonstrations.h"
#include "data/messages.h"

namespace keel::pipelines::stages {
namespace {

// A document's ids and its source; no ids for a row that is left out.
std::pair<core::Ids, std::string> read_document(const nlohmann::json& row, data::ChatFormat format, const data::Tokenizer& tokenizer,
                                                data::TagPolicy tags, data::Counts& counts) {
  std::string source = data::optional_text(row, "source");
  if (source.empty()) source = "text";
  const auto document = data::parse_demonstration(row, counts);
  if (!document) return {{}, source};
  if (data::member(row, "messages") != nullptr)
    for (const core::Message& message : document->dialogue.messages)
      if (!message.learned)
        throw std::invalid_argument(
            "pretraining learns every token of a dialogue, also of a turn with \"weight\": 0; leave \"weight\" out");
  if (document->dialogue.messages.empty()) return {data::render_text(tokenizer, document->text, true, true).ids, source};
  return {data::render(format, tokenizer, document->dialogue, tags).ids, source};
}

}  // namespace

Corpus read_corpus(const std::filesystem::path& file, data::ChatFormat format, const data::Tokenizer& tokenizer, int64_t row_tokens,
                   data::TagPolicy tags, nlohmann::json& counts) {
  Corpus corpus;
  data::Counts read, rendered;
  core::JsonlReader reader(file);
  const auto add = [&](const nlohmann::json& row) {
    const auto [ids, name] = read_document(row, format, tokenizer, tags, read);
    if (ids.empty()) return;
    policy::Source& source = corpus.sources[name];
    source.name = name;
    auto parts = policy::split_document(ids, row_tokens);
    ++rendered.kept;
    if (parts.size() > 1) ++rendered.truncated["pieces"];
    for (auto& part : parts) {
      source.sequences.push_back(std::ssize(corpus.sequences));
      corpus.sequences.push_back(std::move(part));
    }
  };
  for (nlohmann::json row; reader.next(row);)
    data::with_place(reader.path(), reader.line(), [&] {
      for (const nlohmann::json& document : data::demonstration_rows(row))
        add(document);
    });
  core::log_info(fmt::format("{}: {}; rendered: {}", file.string(), to_line(read), to_line(rendered)));
  counts[file.filename().string()] = {{"read", to_json(read)}, {"rendered", to_json(rendered)}};
  if (corpus.sequences.empty()) throw core::DataError(file, 0, "holds no text to train on");
  return corpus;
}

}  // namespace keel::pipelines::stages
