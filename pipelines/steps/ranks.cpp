#include "pipelines/steps/ranks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "core/log.h"
#include "pipelines/run/manifest.h"
#include "runtime/device.h"
#include "runtime/dist/ranks.h"

namespace keel::pipelines::steps {
namespace {

namespace fs = std::filesystem;
namespace dist = runtime::dist;

// Signals count for all ranks at the same point while it lives.
struct SignalsHeld {
  SignalsHeld() { core::hold_interrupts(true); }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;
  ~SignalsHeld() { core::hold_interrupts(false); }
};

// Ranks work beside `work`, in hidden folders whose names begin like this.
std::string beginning_of(const fs::path& work) {
  return fmt::format(".{}.rank", work.filename().string());
}

// A follower's own folder: a copy of what a stage finds in `work`. Names that begin with a dot are no part of a stage's work.
class OwnFolder {
 public:
  explicit OwnFolder(const fs::path& work) : folder_(work.parent_path() / (beginning_of(work) + std::to_string(dist::rank()))) {
    run::remove_tree(folder_);
    core::make_directories(folder_);
    for (const auto& entry : fs::directory_iterator(work)) {
      const std::string name = entry.path().filename();
      if (!name.starts_with('.')) fs::copy(entry.path(), folder_ / name, fs::copy_options::recursive);
    }
  }
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;
  ~OwnFolder() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  const fs::path& path() const { return folder_; }

 private:
  fs::path folder_;
};

// What ranks that were killed have left.
void drop_folders(const fs::path& work) {
  for (const auto& entry : fs::directory_iterator(work.parent_path()))
    if (entry.path().filename().string().starts_with(beginning_of(work))) run::remove_tree(entry.path());
}

// Throws on all ranks unless what they find in their folders has the same names and sizes.
void check_same_work(const fs::path& work) {
  std::vector<std::string> found;
  for (const auto& top : fs::directory_iterator(work)) {
    if (top.path().filename().string().starts_with('.')) continue;
    found.push_back(top.path().filename());
    if (!top.is_directory()) continue;
    for (const auto& entry : fs::recursive_directory_iterator(top))
      found.push_back(fmt::format("{} {}", fs::relative(entry.path(), work).string(), entry.is_regular_file() ? entry.file_size() : 0));
  }
  std::ranges::sort(found);
  dist::check_equal("the half-done work", fmt::format("{}", fmt::join(found, "\n")));
}

nlohmann::json announcement(const run::Stage& stage, const run::StageContext& context) {
  nlohmann::json inputs = nlohmann::json::object();
  for (const auto& [name, folder] : context.inputs)
    inputs[name] = fs::absolute(folder).string();
  return {{"stage", stage.name}, {"config", stage.config}, {"external", stage.external}, {"work", fs::absolute(context.work).string()},
          {"inputs", inputs},    {"seed", context.seed},   {"threads", context.threads}};
}

}  // namespace

run::Stage led(run::Stage stage) {
  const run::Stage alone = stage;
  stage.run = [alone](const run::StageContext& context) {
    if (!alone.together || dist::size() == 1) {
      const dist::Alone here;
      alone.run(context);
      return drop_folders(context.work);
    }
    const SignalsHeld held;
    const int64_t before = dist::payload_bytes();
    core::log_info(fmt::format("{}: {} ranks compute it together", alone.name, dist::size()));
    dist::announce(core::dump_json(announcement(alone, context)));
    check_same_work(context.work);  // they have copied it
    alone.run(context);
    dist::gather({});  // they have dropped their folders
    drop_folders(context.work);
    core::log_info(fmt::format("{}: rank 0 received {:.1f} MB from the others", alone.name,
                               static_cast<double>(dist::payload_bytes() - before) / 1e6));
  };
  return stage;
}

void follow(const std::vector<run::Stage>& stages) {
  const SignalsHeld held;
  for (std::string text = dist::next_announcement(); !text.empty(); text = dist::next_announcement()) {
    const nlohmann::json told = core::parse_json(text, "what rank 0 announced");
    const auto stage = std::ranges::find(stages, told.at("stage").get<std::string>(), &run::Stage::name);
    if (stage == stages.end() || stage->config != told.at("config").get<std::string>() ||
        stage->external != told.at("external").get<std::map<std::string, std::string>>())
      throw core::UsageError(
          fmt::format("rank 0 computes '{}' with other settings or input files than rank {} has: give the same command and "
                      "files to all ranks",
                      told.at("stage").get<std::string>(), dist::rank()));
    runtime::configure_process(told.at("threads").get<int>());
    run::StageContext context{.work = {}, .inputs = {}, .seed = told.at("seed").get<uint64_t>(), .threads = told.at("threads").get<int>()};
    for (const auto& [name, folder] : told.at("inputs").items())
      context.inputs[name] = folder.get<std::string>();
    {
      const OwnFolder own(told.at("work").get<std::string>());
      context.work = own.path();
      check_same_work(context.work);
      stage->run(context);
    }
    dist::gather({});
  }
}

}  // namespace keel::pipelines::steps
