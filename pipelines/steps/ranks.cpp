#include "pipelines/steps/ranks.h"

#include <fmt/format.h>

#include <algorithm>
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

// A follower's own folder: what a stage finds in `work`, without the folders of other ranks.
class OwnFolder {
 public:
  explicit OwnFolder(const fs::path& work) : folder_(work / "ckpt" / fmt::format("rank{}", dist::rank())) {
    run::remove_tree(folder_);
    core::make_directories(folder_ / "ckpt");
    copy(work, folder_, "ckpt");
    copy(work / "ckpt", folder_ / "ckpt", "rank");
  }
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;
  ~OwnFolder() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    fs::remove(folder_.parent_path(), ignored);  // where nothing else lies in it
  }
  const fs::path& path() const { return folder_; }

 private:
  static void copy(const fs::path& from, const fs::path& to, const std::string& left_out) {
    for (const auto& entry : fs::directory_iterator(from)) {
      const std::string name = entry.path().filename();
      if (!name.starts_with(left_out) && !name.starts_with('.')) fs::copy(entry.path(), to / name, fs::copy_options::recursive);
    }
  }

  fs::path folder_;
};

nlohmann::json announcement(const run::Stage& stage, const run::StageContext& context) {
  nlohmann::json inputs = nlohmann::json::object();
  for (const auto& [name, folder] : context.inputs)
    inputs[name] = folder.string();
  return {{"stage", stage.name}, {"config", stage.config}, {"work", fs::absolute(context.work).string()},
          {"inputs", inputs},    {"seed", context.seed},   {"threads", context.threads}};
}

}  // namespace

run::Stage led(run::Stage stage) {
  if (dist::size() == 1 || !stage.together) return stage;
  const run::Stage alone = stage;
  stage.run = [alone](const run::StageContext& context) {
    const SignalsHeld held;
    const int64_t before = dist::payload_bytes();
    core::log_info(fmt::format("{}: {} ranks compute it together", alone.name, dist::size()));
    dist::announce(core::dump_json(announcement(alone, context)));
    dist::gather({});  // they have copied what lies there
    alone.run(context);
    dist::gather({});  // they have dropped their folders
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
    if (stage == stages.end() || stage->config != told.at("config").get<std::string>())
      throw core::UsageError(
          fmt::format("rank 0 computes a stage '{}' that rank {} has not, or with other settings: give the same command "
                      "and files to all ranks",
                      told.at("stage").get<std::string>(), dist::rank()));
    runtime::configure_process(told.at("threads").get<int>());
    run::StageContext context{.work = {}, .inputs = {}, .seed = told.at("seed").get<uint64_t>(), .threads = told.at("threads").get<int>()};
    for (const auto& [name, folder] : told.at("inputs").items())
      context.inputs[name] = folder.get<std::string>();
    {
      const OwnFolder own(told.at("work").get<std::string>());
      context.work = own.path();
      dist::gather({});
      stage->run(context);
    }
    dist::gather({});
  }
}

}  // namespace keel::pipelines::steps
