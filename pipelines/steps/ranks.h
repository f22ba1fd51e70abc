// Steps that several ranks compute together (runtime/dist/ranks.h). The first rank runs everything as if it were alone: stages, keys,
// locks, commits. Before the function of a step that all compute it tells the others which; they call the same function in a folder of
// their own, which they drop afterwards. So checkpoints and results know nothing of ranks, and any number of them goes on from there.
#pragma once

#include <vector>

#include "pipelines/run/stage_graph.h"

namespace keel::pipelines::steps {

// The stage as the first rank runs it, or a process of its own.
run::Stage led(run::Stage stage);

// What the other ranks do: they compute the stages that the first one leads, until it leaves. The folder of rank R is .WORK.rankR beside
// WORK, with a copy of what the first found there. UsageError where a stage's settings or outside files are not those of the first rank.
void follow(const std::vector<run::Stage>& stages);

}  // namespace keel::pipelines::steps
