// What the trainings of a scalar head have in common: the order of their items, the weights that learn, the schedule.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "reward/model.h"
#include "runtime/schedule.h"

namespace keel::reward {

// Items 0..count-1, once an epoch, each epoch in a random order of its own keyed by (seed, purpose, epoch). core::ConfigError for more
// items in all than one run can plan. `what` names them there.
std::vector<int64_t> order_of_epochs(int64_t count, int64_t epochs, uint64_t seed, std::string_view purpose, std::string_view what);

// The trained weights: everything above the lowest `frozen_layers` blocks; with none of them frozen, the embedding too.
runtime::Parameters trained_parameters(const RewardModel& model, int64_t frozen_layers);

// Problems of `frozen_layers` with this model shape.
std::vector<std::string> problems_of_frozen_layers(int64_t frozen_layers, const policy::LlamaConfig& shape);

// Warm-up steps of a training of `steps`: `share` of them, at least `min_steps`, but at most a fifth of all.
int64_t warmup_steps(double share, int64_t min_steps, int64_t steps);

}  // namespace keel::reward
