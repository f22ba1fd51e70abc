// How fast a machine computes a model's work, and how much memory it has.
#pragma once

#include <string>
#include <vector>

#include "pipelines/forecast/forecast.h"

namespace keel::pipelines::forecast {

struct Machine {
  std::string name;
  double memory = 0;                                       // bytes
  double trained = 0, adapted = 0, read = 0, written = 0;  // FLOP/s of each kind of work
  double bandwidth = 0;                                    // bytes/s at which a step of writing reads the weights
  Numbers numbers = {};
};

// This machine, measured for some seconds with `threads` threads on random weights of `shape`, of which a large model keeps only as many
// layers as are quick to measure. `rows`: answers written together. `lora`: adapters that learn, with rank 0 none do.
Machine this_machine(const policy::LlamaConfig& shape, int64_t rows, const policy::LoraConfig& lora, int threads);

// A named GPU, by its published figures in bf16 and the share of them that a well-written program reaches: what the arithmetic needs, not
// what keel does on CPUs. UsageError, naming those that are known, for another name.
Machine named_machine(const std::string& name);
std::vector<std::string> machine_names();

// Seconds of a stage's work.
double seconds(const Work& work, const Cost& cost, const Machine& machine);

}  // namespace keel::pipelines::forecast
