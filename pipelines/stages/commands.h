// The steps of this folder that have a command of their own.
#pragma once

#include "pipelines/steps/command.h"

namespace keel::pipelines::stages {

steps::Command pretrain_command();
steps::Command sft_command();
steps::Command reward_command();
steps::Command refusal_command();
steps::Command rejection_command();
steps::Command ppo_command();
steps::Command gatt_command();
steps::Command distill_command();

}  // namespace keel::pipelines::stages
