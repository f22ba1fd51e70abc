#include "runtime/dist/place.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string_view>

#include "core/error.h"

namespace keel::runtime::dist {
namespace {

// The variables of a launcher; `step` is what must be set besides them, for they may also stand in a shell that srun did not start.
struct Launcher {
  const char *rank, *size, *local_size, *local_rank, *step;
};

constexpr Launcher kLaunchers[] = {
    {"RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK", nullptr},
    {"SLURM_PROCID", "SLURM_NTASKS", nullptr, "SLURM_LOCALID", "SLURM_STEP_NODELIST"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", nullptr},
    {"PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", "MPI_LOCALRANKID", nullptr},
};

std::optional<std::string> text_of(const Environment& environment, const char* name) {
  const char* value = name == nullptr ? nullptr : environment(name);
  return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
}

int64_t number_of(const Environment& environment, const char* name, int64_t lowest, int64_t highest) {
  const std::string text = text_of(environment, name).value_or("");
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < lowest || number > highest)
    throw core::UsageError(
        fmt::format("the environment's {} must be a whole number from {} to {}, got \"{}\"", name, lowest, highest, text));
  return number;
}

void find_store(const Environment& environment, bool by_srun, Place& place) {
  constexpr int kFirstPort = 20000, kPorts = 12000;  // below those that Linux hands out
  place.address = text_of(environment, "MASTER_ADDR").value_or("");
  if (text_of(environment, "MASTER_PORT")) place.port = static_cast<int>(number_of(environment, "MASTER_PORT", 1, 65535));
  if (by_srun) {
    if (place.address.empty()) place.address = first_host(text_of(environment, "SLURM_STEP_NODELIST").value_or(""));
    if (place.port == 0 && text_of(environment, "SLURM_JOB_ID")) {
      const int64_t step = text_of(environment, "SLURM_STEP_ID") ? number_of(environment, "SLURM_STEP_ID", 0, INT32_MAX) : 0;
      place.port = static_cast<int>(kFirstPort + (number_of(environment, "SLURM_JOB_ID", 0, INT32_MAX) + 997 * step) % kPorts);
    }
  }
  if (place.address.empty() || place.port == 0)
    throw core::UsageError(
        fmt::format("{} ranks need a place to meet: export MASTER_ADDR (a host of rank 0 that all reach) and MASTER_PORT (a free port "
                    "there), the same for every rank",
                    place.size));
  place.store_is_there = text_of(environment, "TORCHELASTIC_USE_AGENT_STORE") == "True";
  place.attempt = text_of(environment, "TORCHELASTIC_RESTART_COUNT").value_or("0");
}

}  // namespace

std::string first_host(const std::string& list) {
  const size_t open = list.find_first_of("[,");
  if (open == std::string::npos || list[open] == ',') return list.substr(0, open);
  const size_t close = list.find(']', open), end = list.find_first_of("-,]", open);
  const size_t after = close == std::string::npos ? list.size() : std::min(list.find(',', close), list.size());
  const std::string suffix = close == std::string::npos ? "" : list.substr(close + 1, after - close - 1);
  return list.substr(0, open) + list.substr(open + 1, std::min(end, list.size()) - open - 1) + suffix;
}

Place place_from(const Environment& environment) {
  for (const Launcher& launcher : kLaunchers) {
    if (!text_of(environment, launcher.rank) || !text_of(environment, launcher.size)) continue;
    const bool by_srun = launcher.step != nullptr;
    if (by_srun && !text_of(environment, launcher.step)) continue;
    Place place;
    const char* of_step = "SLURM_STEP_NUM_TASKS";  // the other may be the whole job's
    const char* size = by_srun && text_of(environment, of_step) ? of_step : launcher.size;
    place.size = static_cast<int>(number_of(environment, size, 1, 100'000));
    place.rank = static_cast<int>(number_of(environment, launcher.rank, 0, place.size - 1));
    if (place.size == 1) return place;
    if (text_of(environment, launcher.local_size))
      place.local_size = static_cast<int>(number_of(environment, launcher.local_size, 1, place.size));
    if (text_of(environment, launcher.local_rank))
      place.local_rank = static_cast<int>(number_of(environment, launcher.local_rank, 0, place.size - 1));
    find_store(environment, by_srun, place);
    return place;
  }
  const auto rank = text_of(environment, "RANK"), size = text_of(environment, "WORLD_SIZE");
  if (rank.has_value() != size.has_value() && size != "1")
    throw core::UsageError(fmt::format("the environment's {} is set and {} is not: set both, or unset it for a process of its own",
                                       rank ? "RANK" : "WORLD_SIZE", rank ? "WORLD_SIZE" : "RANK"));
  return {};
}

}  // namespace keel::runtime::dist
