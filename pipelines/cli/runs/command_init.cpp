// keel init: a commented recipe for a model and data files, after a look at both.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/log.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/runs/commands.h"
#include "pipelines/cli/runs/inspect.h"
#include "pipelines/recipe/recipe.h"
#include "policy/base_model.h"
#include "policy/checkpoint.h"

namespace keel::pipelines::cli::runs {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using recipe::SourceConfig;
using recipe::SourceKind;

struct InitOptions {
  std::string model, chat, name, out;
  std::vector<std::string> data;
};

// A source, and what was seen of its rows.
struct SeenSource {
  SourceConfig source;
  int64_t rows = 0, tokens_p50 = 0, tokens_p99 = 0;
  std::string note;  // a guess that the user should look at; may be empty
};

bool names_safety(const std::string& path) {
  std::string name = (fs::path(path) / "").parent_path().filename().string();  // of a folder with a slash behind it, too
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* word : {"harm", "safe", "attack", "advers", "redteam", "red_team", "red-team"})
    if (name.find(word) != std::string::npos) return true;
  return false;
}

// The kind of source that a file's rows make, by their form and by the file's name.
SeenSource seen_source(const std::string& path, const json& facts) {
  SeenSource seen{.source = {.path = path}, .rows = facts.at("rows").get<int64_t>(), .note = {}};
  if (facts.contains("tokens")) {
    seen.tokens_p50 = facts.at("tokens").at("p50");
    seen.tokens_p99 = facts.at("tokens").at("p99");
  }
  std::string form;
  for (const auto& [name, count] : facts.at("forms").items())
    if (form.empty() || count.get<int64_t>() > facts.at("forms").at(form).get<int64_t>()) form = name;
  const bool safety = names_safety(path), hazards = facts.contains("hazard");
  if (form == "preference pair") {
    seen.source.kind = safety ? SourceKind::safety : SourceKind::helpfulness;
    seen.note = fmt::format("by its name; say {} if it is", safety ? "helpfulness" : "safety");
  } else if (form == "prompt") {
    seen.source.kind = SourceKind::prompts;
    seen.source.hazard = safety && !hazards;
    if (!hazards)
      seen.note = fmt::format("no row says \"hazard\"; all count as {}, by the file's name", safety ? "about safety" : "harmless");
  } else if (form == "demonstration") {
    seen.source.kind = SourceKind::demonstrations;
    seen.source.hazard = safety;
    if (safety) seen.note = "about safety, by its name";
  } else if (form == "document") {
    seen.source.kind = SourceKind::pretraining;
  } else {
    throw core::UsageError(
        fmt::format("{} holds rows of the form \"{}\", which no recipe learns from; keel reads preference pairs, "
                    "demonstrations, prompts and plain text",
                    path, form));
  }
  return seen;
}

SeenSource look_at(const std::string& path, const inference::TextParts& parts) {
  recipe::DataConfig one;
  one.sources = {{.path = path}};
  const auto files = recipe::files_of(one, {});
  if (files.front().empty()) throw core::UsageError(fmt::format("--data: {} matches no file", path));
  recipe::check_source_files(one);
  SeenSource whole;
  for (const recipe::SourceFile& file : files.front()) {
    const json facts = data_facts(file.path, parts, 0, false);
    if (facts.contains("unreadable")) throw core::DataError(file.path, 0, facts.at("unreadable").at("first").at(0).get<std::string>());
    if (facts.contains("refused")) throw core::DataError(file.path, 0, facts.at("refused").at("first").at(0).get<std::string>());
    SeenSource seen = seen_source(path, facts);
    if (whole.rows > 0 && seen.source.kind != whole.source.kind)
      throw core::UsageError(fmt::format("{} holds files of different kinds, {} and {}; give each --data of its own", path,
                                         core::name_of(whole.source.kind), core::name_of(seen.source.kind)));
    seen.rows += whole.rows;
    seen.tokens_p50 = std::max(seen.tokens_p50, whole.tokens_p50);
    seen.tokens_p99 = std::max(seen.tokens_p99, whole.tokens_p99);
    whole = std::move(seen);
  }
  return whole;
}

double gigabytes(double bytes) {
  return bytes / 1e9;
}

double machine_memory() {
  return static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

int64_t rounded_up(int64_t value, int64_t step) {
  return (value + step - 1) / step * step;
}

bool has(const std::vector<SeenSource>& sources, SourceKind kind) {
  return std::any_of(sources.begin(), sources.end(), [&](const SeenSource& seen) { return seen.source.kind == kind; });
}

std::string source_line(const SeenSource& seen, bool last) {
  const SourceConfig& source = seen.source;
  std::string text = fmt::format(R"({{"path": {}, "kind": "{}")", core::dump_json(source.path), core::name_of(source.kind));
  if (source.hazard) text += R"(, "hazard": true)";
  text += last ? "}" : "},";
  text += fmt::format("  // {} rows", seen.rows);
  if (seen.tokens_p50 > 0) text += fmt::format(", {} tokens (median), {} (99 %)", seen.tokens_p50, seen.tokens_p99);
  return seen.note.empty() ? text : text + "; " + seen.note;
}

// Sizes that a first look at so many conversations can fill.
struct Sizes {
  int64_t train_prompts, validation_prompts, test_prompts;
  double held_out;
};

Sizes sizes_for(const std::vector<SeenSource>& sources) {
  int64_t conversations = 0;
  const bool prompts = has(sources, SourceKind::prompts);
  for (const SeenSource& seen : sources)
    if (prompts ? seen.source.kind == SourceKind::prompts : recipe::holds_pairs(seen.source.kind)) conversations += seen.rows;
  Sizes sizes{.train_prompts = std::clamp<int64_t>(conversations / 2, 2, 256),
              .validation_prompts = std::clamp<int64_t>(conversations / 40, 2, 32),
              .test_prompts = std::clamp<int64_t>(conversations / 12, 2, 100),
              .held_out = 0};
  // Conversations are held out by chance: half as many again as are wanted. Validation takes its prompts twice where answers validate SFT.
  const double wanted = 1.5 * static_cast<double>(sizes.test_prompts + 2 * sizes.validation_prompts);
  sizes.held_out = std::clamp(std::ceil(100 * wanted / static_cast<double>(std::max<int64_t>(1, conversations))) / 100, 0.1, 0.4);
  return sizes;
}

std::string recipe_text(const InitOptions& options, const std::string& base, const std::vector<SeenSource>& given,
                        const policy::LlamaConfig& shape, int64_t parameters) {
  std::vector<SeenSource> sources;
  std::string left_out;
  int64_t longest = 0;
  for (const SeenSource& seen : given) {
    if (seen.source.kind == SourceKind::pretraining) {
      left_out += fmt::format("  // {} holds plain text, which only PPO's ptx reads: see ppo.ptx.weight.\n", seen.source.path);
      continue;
    }
    longest = std::max(longest, seen.tokens_p99);
    sources.push_back(seen);
  }
  for (const auto& [kind, other] :
       {std::pair{SourceKind::helpfulness, SourceKind::safety}, {SourceKind::safety, SourceKind::helpfulness}}) {
    if (has(sources, kind)) continue;
    const auto stand_in = std::find_if(sources.begin(), sources.end(), [&](const SeenSource& seen) { return seen.source.kind == other; });
    if (stand_in == sources.end())
      throw core::UsageError("none of the files holds preference pairs, and reward models learn from nothing else; give some with --data");
    SeenSource copy = *stand_in;
    copy.source.kind = kind;
    copy.note = fmt::format("STANDS IN: no file of {} pairs was given; put yours here", core::name_of(kind));
    sources.push_back(copy);
  }
  const int64_t context = shape.max_position_embeddings, max_tokens = std::min(context, std::max<int64_t>(64, rounded_up(longest, 64))),
                new_tokens = std::clamp<int64_t>(max_tokens / 4, 4, 256);
  // fp32: weights, gradients and AdamW's two moments are 16 bytes a parameter. PPO trains policy and critic and holds reference and two
  // reward models, 4 bytes each.
  const double sft = 16.0 * static_cast<double>(parameters), ppo = 44.0 * static_cast<double>(parameters), memory = machine_memory();
  const bool fits = ppo < 0.8 * memory, small = parameters < 1'000'000'000;
  std::string lines;
  for (const SeenSource& seen : sources)
    lines += "      " + source_line(seen, &seen == &sources.back()) + "\n";
  std::string model = fmt::format("  \"model\": {},\n", core::dump_json(options.model));
  if (!base.empty()) model += fmt::format("  \"base\": {},\n", core::dump_json(base));
  if (!options.chat.empty()) model += fmt::format("  \"chat_format\": {},\n", core::dump_json(options.chat));
  const bool demonstrations = has(sources, SourceKind::demonstrations);
  const std::string file = options.out.empty() ? "recipe.json" : options.out;
  const Sizes sizes = sizes_for(sources);
  return fmt::format(
      R"(// Written by keel init. {} parameters, context {}; check it with
//   keel plan {}                      time and memory of its stages
//   keel run {} --out runs/{} --dry-run
// `keel run --schema` documents every field; what is not set here is the paper's (docs/recipe.md).
//
// Memory in fp32, activations come on top: SFT and reward models {:.1f} GB, PPO {:.1f} GB; this machine has {:.1f} GB.
{}{{
  "name": {},
  "seed": 1,
{}  "versions": ["{}"],  // {}; append a version for each new batch
  "data": {{
    "source": "files",
    "held_out": {:.2f},      // of the conversations, for tests
    "max_tokens": {},     // longest dialogue; 99 % of the rows are not longer, unless the context is shorter
    "train_prompts": {}, "validation_prompts": {}, "test_prompts": {},
    {}"max_pairs": 500,      // of each kind: a first look; 0 = all
    "sources": [
{}    ]
  }},
  // From V2 on: "preferences": {{"annotator": "none"}} for batches of your own alone, judge or people to compare the newest models' answers.
  "sft": {{"epochs": 1, "batch": {{"batch_rows": 8, "row_tokens": {}, "micro_rows": 1}}, "schedule": {{"learning_rate": {}}}}},
  "reward": {{"batch_pairs": 16, "micro_pairs": 4, "micro_tokens": 4096, "learning_rate": {}}},
  "rejection": {{
    "samples": 4,          // answers to each prompt, of which the best is learned
    "sampling": {{"max_new_tokens": {}}},
    "selection": {{"finished_only": false}},
    "sft": {{"epochs": 1, "batch": {{"batch_rows": 8, "row_tokens": {}, "micro_rows": 1}}, "schedule": {{"learning_rate": {}}}}}
  }},
{}  "evaluation": {{"max_new_tokens": {}}}
}}
)",
      parameters, context, file, file, options.name, gigabytes(sft), gigabytes(ppo), gigabytes(memory), left_out,
      core::dump_json(options.name), model, fits ? "ppo" : "rejection",
      fits ? "rejection sampling, then PPO on top of it" : "rejection sampling; PPO would not fit into this machine's memory",
      sizes.held_out, max_tokens, sizes.train_prompts, sizes.validation_prompts, sizes.test_prompts,
      demonstrations ? "" : "\"max_demonstrations\": 512,  // chosen answers, because no file holds demonstrations; 0 = all\n    ", lines,
      max_tokens, small ? "2e-5" : "1e-5", small ? "3e-5" : "1e-5", new_tokens, max_tokens, small ? "2e-5" : "1e-5",
      fits ? fmt::format(
                 R"(  "ppo": {{
    "iterations": 8,       // a first look; the paper's are 200 to 400 of 512 answers
    "batch_answers": 32, "minibatch_answers": 8, "micro_answers": 4, "micro_tokens": 4096,
    "sampling": {{"max_new_tokens": {}}},
    "schedule": {{"learning_rate": {}}}, "critic_schedule": {{"learning_rate": {}}}
  }},
)",
                 new_tokens, small ? "2e-6" : "1e-6", small ? "1e-5" : "1e-6")
           : "",
      new_tokens);
}

void init(InitOptions options, const common::Invocation& invocation) {
  common::configure({}, invocation);
  if (!fs::is_directory(options.model))
    throw core::UsageError(
        fmt::format("--model: {} is no folder; keel downloads nothing by itself: `make model` fetches a small model, "
                    "`hf download NAME --local-dir DIR` any",
                    options.model));
  common::use_base(invocation, {options.model});
  if (!options.out.empty() && fs::exists(options.out))
    throw core::UsageError(fmt::format("{} exists; choose another file, or remove it", options.out));
  if (options.name.empty()) options.name = options.out.empty() ? "own" : fs::path(options.out).stem().string();
  const policy::Checkpoint checkpoint = policy::describe_folder(policy::weights_folder(options.model));
  const inference::TextParts parts = inference::text_parts(options.model, options.chat);
  if (parts.format == data::ChatFormat::none)
    throw core::UsageError(fmt::format("{} has no chat format of its own: name one with --chat, {}, or a .json file", options.model,
                                       fmt::join(data::dialogue_formats(), ", ")));
  data::check_renderable(parts.format, *parts.tokenizer);
  std::vector<SeenSource> sources;
  recipe::DataConfig all;
  for (const std::string& path : options.data) {
    sources.push_back(look_at(path, parts));
    all.sources.push_back(sources.back().source);
  }
  recipe::check_source_files(all);  // a file that is given twice
  const std::string text = recipe_text(options, invocation.base, sources, checkpoint.config, checkpoint.parameters);
  if (options.out.empty()) {
    std::cout << text << std::flush;
    return;
  }
  core::write_file(options.out, text);
  core::log_info(fmt::format("{}: run it with  keel run \"{}\" --out \"runs/{}\"", options.out, options.out, options.name));
}

}  // namespace

void add_init(CLI::App& app, common::Invocation& invocation) {
  auto options = std::make_shared<InitOptions>();
  CLI::App* command = app.add_subcommand("init", "a commented recipe for a model and data, after a look at both");
  command->add_option("--model", options->model, "model folder to start from")->required()->type_name("DIR");
  command->add_option("--data", options->data, "a file, pattern or folder of pairs, demonstrations or prompts; repeat it")
      ->required()
      ->type_name("PATH");
  common::add_base(*command, invocation);
  command->add_option("--chat", options->chat, "chat format instead of the model's own: a name, or a .json file that declares one");
  command->add_option("--name", options->name, "name of the recipe; by default that of the file");
  command->add_option("--out", options->out, "recipe to write; by default standard output")->type_name("FILE");
  common::add_common_options(*command, invocation);
  command->callback([options, &invocation] { invocation.action = [options, &invocation] { init(*options, invocation); }; });
}

}  // namespace keel::pipelines::cli::runs
