// The learning rate as a pure function of the step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config.h"

namespace keel::runtime {

enum class Schedule { cosine, constant };
constexpr auto names(Schedule) {
  return std::to_array<core::Named<Schedule>>({{Schedule::cosine, "cosine"}, {Schedule::constant, "constant"}});
}

struct ScheduleConfig {
  double learning_rate = 3e-4;  // peak
  Schedule schedule = Schedule::cosine;
  double final_ratio = 0.1;  // cosine ends at this share of the peak (paper 2.2)
  int64_t warmup_steps = 0;  // linear from 0
};

inline void visit(ScheduleConfig& config, core::Fields& fields) {
  fields("learning_rate", config.learning_rate, "peak learning rate", core::at_least(0));
  fields("schedule", config.schedule, "learning rate after warm-up");
  fields("final_ratio", config.final_ratio, "cosine: last learning rate as a share of the peak", core::between(0, 1));
  fields("warmup_steps", config.warmup_steps, "optimiser steps of linear warm-up", core::at_least(0));
}

// Settings that are set but have no effect.
std::vector<std::string> problems_of(const ScheduleConfig& config);

// Learning rate of step 0..steps-1: (step + 1) / warmup of the peak during warm-up, then cosine from the peak to final_ratio of it over the
// steps that remain, or constant.
double learning_rate(const ScheduleConfig& config, int64_t step, int64_t steps);

}  // namespace keel::runtime
