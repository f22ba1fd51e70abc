// keel convert: a checkpoint of another program into a model folder.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "core/named.h"
#include "data/chat_format.h"
#include "data/generation_config.h"
#include "data/tokenizer.h"
#include "data/tokenizer_export.h"
#include "inference/reward_models.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"
#include "pipelines/run/manifest.h"
#include "pipelines/steps/step.h"
#include "policy/base_model.h"
#include "policy/import.h"
#include "policy/lora.h"
#include "policy/model_directory.h"
#include "policy/other_checkpoints.h"

namespace keel::pipelines::cli::models {
namespace {

namespace fs = std::filesystem;

enum class SourceFormat { hf, adapter, meta, gguf, llama2c };
constexpr auto names(SourceFormat) {
  return std::to_array<core::Named<SourceFormat>>({{SourceFormat::hf, "hf"},
                                                   {SourceFormat::adapter, "adapter"},
                                                   {SourceFormat::meta, "meta"},
                                                   {SourceFormat::gguf, "gguf"},
                                                   {SourceFormat::llama2c, "llama2c"}});
}

struct ConvertOptions {
  std::string source, target, format, tokenizer, chat, dtype = "keep";
};

SourceFormat recognise(const fs::path& source) {
  if (!fs::exists(source)) throw core::UsageError(fmt::format("{} does not exist", source.string()));
  if (fs::is_directory(source)) {
    if (policy::is_adapter(source)) return SourceFormat::adapter;
    const bool safetensors = fs::exists(source / "model.safetensors") || fs::exists(source / "model.safetensors.index.json");
    return !safetensors && policy::is_meta_folder(source) ? SourceFormat::meta : SourceFormat::hf;
  }
  policy::refuse_other_checkpoint(source);
  if (source.extension() == ".gguf") return SourceFormat::gguf;
  if (source.extension() == ".bin") return SourceFormat::llama2c;
  throw core::UsageError(
      fmt::format("{} is no model folder, .gguf or llama2.c .bin; name its kind with --format hf|meta|gguf|llama2c", source.string()));
}

// The chat format of SRC or, if it names none, of the tokenizer's folder.
data::ChatFormat source_format(const ConvertOptions& options) {
  if (!options.chat.empty()) return data::parse_chat_format(options.chat);
  const data::ChatFormat own = inference::chat_format_of(options.source);
  return own == data::ChatFormat::none && !options.tokenizer.empty() ? data::chat_format_of(options.tokenizer) : own;
}

// What SRC itself says of stops and templates, and its config.json, which may name stops that no other file does: before what stands beside
// another tokenizer.
void copy_own_companions(const fs::path& source, const fs::path& work) {
  for (const char* name : {"config.json", "generation_config.json", "chat_template.jinja", "chat_template.json"})
    if (fs::is_regular_file(source / name)) core::write_file(work / name, core::read_file(source / name));
}

// A format that was asked for must go with the tokenizer; that of a template may be another model's, which only messages would notice.
void check_renderable(const data::ChatFormat& format, const data::Tokenizer& tokenizer, bool asked_for) {
  try {
    data::check_renderable(format, tokenizer);
  } catch (const core::UsageError& error) {
    if (asked_for) throw;
    core::log_warn(fmt::format("messages cannot be rendered: {}", error.what()));
  }
}

policy::Llama read_source(SourceFormat format, const fs::path& source, const std::string& dtype) {
  if (format == SourceFormat::gguf) return policy::import_gguf(source);
  if (format == SourceFormat::llama2c) return policy::import_llama2c(source);
  if (format == SourceFormat::meta) return policy::import_meta(source);
  if (format == SourceFormat::adapter) {
    const policy::Llama base = policy::load_llama(policy::base_of(source), policy::Precision::stored);
    policy::Llama merged = policy::merged(policy::load_lora(source, base));
    policy::cast_weights(merged, dtype == "keep" ? policy::dtype_name(policy::common_dtype(policy::parameters(base))) : dtype, source);
    return merged;
  }
  return policy::load_llama(source, policy::Precision::stored);
}

// A refusal before the weights are read, which takes long.
void check_tokenizer(const ConvertOptions& options, SourceFormat format) {
  if (format == SourceFormat::llama2c && options.tokenizer.empty())
    throw core::UsageError("a llama2.c checkpoint holds no tokenizer: name it with --tokenizer PATH");
  if (format != SourceFormat::meta) return;
  if (options.tokenizer.empty() && !fs::exists(fs::path(options.source) / "tokenizer.model") &&
      !fs::exists(fs::path(options.source) / "tokenizer.json"))
    throw core::UsageError(
        fmt::format("{} holds no tokenizer.model; Meta's downloads have it one folder up: name it with --tokenizer PATH", options.source));
  data::load_tokenizer(options.tokenizer.empty() ? options.source : options.tokenizer);
}

// SHA-256 of a source; of Meta's folder over the files that are read.
std::string source_digest(const ConvertOptions& options, SourceFormat format) {
  core::DigestCache digests;
  if (format != SourceFormat::meta) return steps::digest_of(options.source, digests);
  std::vector<fs::path> files = policy::meta_weights(options.source);
  files.push_back(fs::path(options.source) / "params.json");
  std::string all;
  for (const fs::path& file : files)
    all += file.filename().string() + " " + digests.sha256(file) + "\n";
  return core::sha256(all);
}

// How the folder came about; `dtype` only where the weights may have been rounded to it.
nlohmann::json lineage_of(const ConvertOptions& options, SourceFormat format) {
  nlohmann::json lineage = {
      {"stage", "convert"}, {"source_format", core::name_of(format)}, {"source_sha256", source_digest(options, format)}};
  if (options.dtype != "keep") lineage["dtype"] = options.dtype;
  return lineage;
}

// Writes a folder as a whole or not at all.
void commit(const fs::path& target, const std::function<void(const fs::path& work)>& write) {
  const fs::path work = target.parent_path() / fmt::format(".{}.partial", target.filename().string());
  fs::remove_all(work);
  core::make_directories(work);
  try {
    write(work);
    if (fs::exists(target)) fs::remove(target);
    core::commit_directory(work, target);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(work, ignored);
    throw;
  }
}

// The merged reward model of an adapter.
void convert_reward_adapter(const ConvertOptions& options, const fs::path& target) {
  if (!options.tokenizer.empty())
    throw core::UsageError("--tokenizer: a reward model keeps the tokenizer that it learned with; leave it out");
  const inference::ScoringModel model = inference::load_scoring_model(options.source, options.chat);
  reward::RewardModel merged = {policy::merged(model.weights->backbone), model.weights->score};
  policy::cast_weights(merged.backbone, options.dtype, options.source);
  merged.score = merged.score.to(merged.backbone.norm.scalar_type());
  nlohmann::json lineage = lineage_of(options, SourceFormat::adapter);
  if (const std::string kind = inference::trained_for(options.source); !kind.empty()) lineage["kind"] = kind;
  commit(target,
         [&](const fs::path& work) { inference::save_scoring_model(work, merged, options.source, model.format, lineage, model.limit); });
  core::log_info(fmt::format("{}: a reward model, chat format {}", options.target, data::describe(model.format)));
}

void convert(const ConvertOptions& options) {
  const SourceFormat given = options.format.empty() ? recognise(options.source) : core::named<SourceFormat>(options.format);
  const bool adapter = given == SourceFormat::adapter;
  if (adapter && !policy::is_adapter(options.source))
    throw core::UsageError(fmt::format("{} is no PEFT adapter: it holds no adapter_config.json", options.source));
  const fs::path target = core::output_folder(options.target);
  run::check_outside_results(target);
  if (adapter && policy::is_classifier_adapter(options.source)) return convert_reward_adapter(options, target);
  check_tokenizer(options, given);
  policy::Llama llama = read_source(given, options.source, options.dtype);
  policy::cast_weights(llama, options.dtype, options.source);
  const data::ChatFormat format = source_format(options);
  commit(target, [&](const fs::path& work) {
    const bool as_loaded = adapter && options.tokenizer.empty();  // the tokenizer of an adapter may lie in its base's folder
    if (!as_loaded) data::write_tokenizer(options.tokenizer.empty() ? options.source : options.tokenizer, work);
    if (!adapter) copy_own_companions(options.source, work);
    const fs::path text = as_loaded ? fs::path(options.source) : work;
    check_renderable(format, *inference::load_tokenizer(text), !options.chat.empty());
    inference::save_language_model(work, llama, text, format, lineage_of(options, given),
                                   adapter ? inference::recorded_limit(options.source) : inference::RenderPolicy{});
    if (const auto tokenizer = data::load_tokenizer(work); tokenizer->vocab_size() > llama.config.vocab_size)
      throw core::DataError(options.tokenizer.empty() ? options.source : options.tokenizer, 0,
                            fmt::format("the tokenizer has {} ids, the model takes {}: they do not belong together",
                                        tokenizer->vocab_size(), llama.config.vocab_size));
  });
  const runtime::Parameters weights = policy::parameters(llama);
  core::log_info(fmt::format("{}: {} parameters in {}, chat format {}", options.target, runtime::count_elements(weights),
                             policy::dtype_name(policy::common_dtype(weights)), data::describe(format)));
  data::warn_of_sampling_defaults(target);
}

}  // namespace

void add_convert(CLI::App& app, common::Invocation& invocation) {
  auto options = std::make_shared<ConvertOptions>();
  CLI::App* command = app.add_subcommand("convert", "a checkpoint of another program into a model folder (Hugging Face layout)");
  command
      ->add_option(
          "source", options->source,
          "a model folder, a PEFT adapter's folder (merged into its base), Meta's folder (params.json, consolidated.NN.pth), a .gguf "
          "or a llama2.c .bin")
      ->required()
      ->type_name("SRC");
  command->add_option("target", options->target, "model folder to write; must not exist or be empty")->required()->type_name("DST");
  command->add_option("--format", options->format, "format of SRC, if its name does not show it")
      ->check(CLI::IsMember(core::all_names<SourceFormat>()));
  command->add_option("--tokenizer", options->tokenizer, "a .model, tokenizer.json, .gguf or folder that holds the tokenizer, if not SRC")
      ->type_name("PATH");
  command->add_option("--chat", options->chat,
                      "chat format to record, a name or a .json file that declares one; default: that of the source's template");
  command
      ->add_option("--dtype", options->dtype,
                   "floating type of the weights written: keep (bf16 and fp16 as in SRC, all else as float32), float32, bfloat16, float16")
      ->check(CLI::IsMember({"keep", "float32", "bfloat16", "float16"}));
  common::add_base(*command, invocation);
  common::add_common_options(*command, invocation);
  command->callback([options, &invocation] {
    invocation.action = [options, &invocation] {
      common::configure({}, invocation);
      common::use_base(invocation, {options->source});
      convert(*options);
    };
  });
}

}  // namespace keel::pipelines::cli::models
