#include "inference/model_text.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/files.h"
#include "data/chat_template.h"
#include "data/generation_config.h"
#include "data/tokenizer_config.h"
#include "data/tokenizer_export.h"
#include "policy/base_model.h"
#include "policy/lora.h"

namespace keel::inference {
namespace {

namespace fs = std::filesystem;

bool holds_tokenizer(const fs::path& folder) {
  return fs::exists(folder / "tokenizer.json") || fs::exists(folder / "tokenizer.model");
}

// The folder whose generation_config.json, or config.json, says how answers end.
fs::path generation_folder(const fs::path& folder) {
  const bool own = !policy::is_adapter(folder) || fs::exists(folder / "generation_config.json") || fs::exists(folder / "config.json");
  return own ? folder : policy::base_of(folder);
}

}  // namespace

fs::path tokenizer_folder(const fs::path& folder) {
  return !policy::is_adapter(folder) || holds_tokenizer(folder) ? folder : policy::base_of(folder);
}

std::shared_ptr<const data::Tokenizer> load_tokenizer(const fs::path& folder) {
  const fs::path vocabulary = tokenizer_folder(folder), generation = generation_folder(folder);
  auto tokenizer = data::load_tokenizer(vocabulary);
  if (generation != vocabulary) tokenizer->set_stops(data::folder_stops(generation, *tokenizer));
  return tokenizer;
}

data::ChatFormat chat_format_of(const fs::path& folder, const std::string& chat) {
  const bool own = !policy::is_adapter(folder) || fs::exists(folder / "keel.json") || data::find_chat_template(folder);
  return data::chat_format_of(own ? folder : policy::base_of(folder), chat);
}

void warn_of_sampling_defaults(const fs::path& folder) {
  data::warn_of_sampling_defaults(generation_folder(folder));
}

std::vector<std::string> tokenizer_files() {
  std::vector<std::string> names = data::tokenizer_companions();
  names.insert(names.begin(), {"tokenizer.model", "tokenizer.json"});
  return names;
}

void copy_tokenizer(const fs::path& from, const fs::path& to) {
  core::make_directories(to);
  const auto copy = [&](const fs::path& source, const std::string& name) {
    if (fs::exists(source / name) && !fs::exists(to / name)) core::write_file(to / name, core::read_file(source / name));
  };
  for (const std::string& name : tokenizer_files())
    copy(from, name);
  // An adapter's own vocabulary is not mixed with companions of its base's.
  if (const fs::path vocabulary = tokenizer_folder(from); vocabulary != from)
    for (const std::string& name : tokenizer_files())
      copy(vocabulary, name);
  copy(generation_folder(from), "generation_config.json");
}

std::string tokenizer_digest(const fs::path& model) {
  const fs::path folder = tokenizer_folder(model);
  for (const char* name : {"tokenizer.json", "tokenizer.model"})  // the first existing file decides, as in load_tokenizer()
    if (fs::exists(folder / name))
      return core::sha256(core::sha256_file(folder / name) + data::id_rules(data::read_tokenizer_config(folder)));
  return {};
}

void require_same_tokenizer(const fs::path& folder, const fs::path& other) {
  const std::string digest = tokenizer_digest(folder);
  if (!digest.empty() && digest == tokenizer_digest(other)) return;
  throw core::DataError(
      folder, 0,
      fmt::format("has another tokenizer than {}: ids of one mean nothing to the other; train it from that model", other.string()));
}

void require_same_text(const fs::path& folder, const fs::path& other) {
  require_same_tokenizer(folder, other);
  const auto own = chat_format_of(folder), others = chat_format_of(other);
  if (own != others)
    throw core::DataError(folder, 0,
                          fmt::format("reads the chat format {}, but {} writes {}: its scores would be of other text than it learned",
                                      data::describe(own), other.string(), data::describe(others)));
}

}  // namespace keel::inference
