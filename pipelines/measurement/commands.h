// The step of this folder that has a command of its own.
#pragma once

#include "pipelines/steps/command.h"

namespace keel::pipelines::measurement {

steps::Command gatt_evaluation_command();

}  // namespace keel::pipelines::measurement
