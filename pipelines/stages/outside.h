// What a run reads from outside its folder: a start checkpoint, preference files, what people filled in.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/digest_cache.h"
#include "pipelines/recipe/recipe.h"
#include "pipelines/run/stage_runner.h"

namespace keel::pipelines::stages {

// SHA-256 of what a run reads from outside its folder, by role: "model", "data.helpful", "data.safety2.0.1", "people.preferences2"; nothing
// in the sandbox. A missing file or folder keeps its digest in `recorded`; UsageError when there is none, and read_guidelines()'s errors.
std::map<std::string, std::string> external_digests(const recipe::Recipe& recipe, core::DigestCache& known,
                                                    const std::map<std::string, std::string>& recorded = {});

// What must be right before any work begins: UsageError for a file or folder of external_digests() that does not exist, for sources that
// hold a file twice, for a chat format that cannot be rendered with the model's tokenizer and for first reward models that are none;
// DataError for those that read other ids than the model writes, and for dialogues that Ghost Attention cannot use.
void check_external_files(const recipe::Recipe& recipe);

// Asks every judge that a stage of run::plan() will ask a trial question: a judge that cannot be used is found out before the work that it
// judges. Errors as annotation::try_question().
void try_judges(const recipe::Recipe& recipe, const run::RunDirectory& run, const std::vector<run::Stage>& stages,
                const run::RunOptions& options);

// The digests of people's files, whose folder may be deleted once its rows are part of a run.
std::map<std::string, std::string> people_digests(std::map<std::string, std::string> recorded);

}  // namespace keel::pipelines::stages
