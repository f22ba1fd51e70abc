// Sections of a recipe on Ghost Attention and context distillation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "annotation/judge.h"
#include "core/config.h"
#include "distillation/distill.h"
#include "gatt/dialogues.h"
#include "gatt/retention.h"
#include "policy/generate.h"

namespace keel::pipelines::recipe {

// How a model answers dialogues turn by turn.
struct AnswerConfig {
  policy::SamplingConfig sampling;
  int64_t batch_rows = 64;
};

inline void visit(AnswerConfig& config, core::Fields& fields) {
  fields.section("sampling", config.sampling, "how answers are drawn");
  fields("batch_rows", config.batch_rows, "answers decoded together; memory against speed", core::at_least(1));
}

// Values that the model itself lists, for the built-in kinds of instructions (paper, A.3.5).
struct ListedValues {
  std::vector<std::string> kinds;
  int64_t count = 50;
};

inline void visit(ListedValues& listed, core::Fields& fields) {
  fields("kinds", listed.kinds, "kinds of instructions whose values the model lists when asked: hobby, language, figure",
         core::one_of(gatt::built_in_kinds()));
  fields("count", listed.count, "values that it is asked for, of each kind", core::between(1, 1000));
}

// Ghost Attention (paper, 3.3 and A.3.5).
struct GattSection {
  int64_t from_version = 0;  // paper: after RLHF V3, i.e. 4
  double weight = 0.2;       // not in the paper
  std::string dialogues, test_dialogues, instructions;
  gatt::GattConfig data;
  AnswerConfig answers;
  ListedValues listed;
  gatt::RetentionConfig retention;
  annotation::JudgeServer judge;
};

inline void visit(GattSection& config, core::Fields& fields) {
  fields("from_version", config.from_version, "version from which fine-tuning learns Ghost Attention dialogues, too; 0 = none",
         core::at_least(0));
  const std::vector<std::string> used = {"Ghost Attention"}, of_files = {"Ghost Attention", "files"};
  fields("weight", config.weight, "their share of the version's fine-tuning data, as far as there are enough", core::between(0.001, 0.999),
         used);
  fields("dialogues", config.dialogues, "rows {\"messages\"} whose answers are sampled anew (.jsonl, .gz, .zst, .parquet)", core::unkeyed(),
         of_files);
  fields("test_dialogues", config.test_dialogues, "rows {\"messages\"} that show how long an instruction is kept", core::unkeyed(),
         of_files);
  fields("instructions", config.instructions, "rows {\"text\"} or {\"kind\", \"value\"}", core::unkeyed(), of_files);
  fields.section("data", config.data, "how the dialogues are made", used);
  fields.section("answers", config.answers, "answers to them", used);
  fields.section("listed", config.listed, "instructions from values that the model lists, beside those of the file", used);
  fields.section("retention", config.retention, "how long an instruction is kept", used);
  fields.section("judge", config.judge, "a language model that tells whether an instruction is obeyed which no program can check",
                 of_files);
}

// Safety context distillation (paper, 4.2.4).
struct DistillSection {
  int64_t from_version = 0;  // not in the paper
  double weight = 0.1;       // not in the paper
  std::string preprompts;
  distillation::DistillConfig data;
  AnswerConfig answers;
};

inline void visit(DistillSection& config, core::Fields& fields) {
  fields("from_version", config.from_version, "version from which fine-tuning learns distilled answers, too; 0 = none", core::at_least(0));
  const std::vector<std::string> used = {"context distillation"};
  fields("weight", config.weight, "their share of the version's fine-tuning data, as far as there are enough", core::between(0.001, 0.999),
         used);
  fields("preprompts", config.preprompts, "rows {\"text\"}, with \"category\" where for one kind of prompt; empty = the built-in ones",
         core::unkeyed(), {"context distillation", "files"});
  fields.section("data", config.data, "which answers are learned", used);
  fields.section("answers", config.answers, "answers with and without a preprompt", used);
}

}  // namespace keel::pipelines::recipe
