// Commands that make models, use them and measure them, each by itself.
#pragma once

namespace CLI {
class App;
}

namespace keel::pipelines::cli::common {
struct Invocation;
}

namespace keel::pipelines::cli::models {

// pretrain, sft, all of reward and refusal, rejection, gatt, distill, ppo
void add_step_commands(CLI::App& app, common::Invocation& invocation);
void add_reward_eval(CLI::App& group, common::Invocation& invocation);
void add_reward_stats(CLI::App& group, common::Invocation& invocation);
void add_eval_commands(CLI::App& app, common::Invocation& invocation);  // eval, with every add_eval_*
void add_eval_gatt(CLI::App& group, common::Invocation& invocation);
void add_eval_refusals(CLI::App& group, common::Invocation& invocation);
void add_eval_safety(CLI::App& group, common::Invocation& invocation);
void add_generate(CLI::App& app, common::Invocation& invocation);
void add_logprobs(CLI::App& app, common::Invocation& invocation);
void add_score(CLI::App& app, common::Invocation& invocation);
void add_serve(CLI::App& app, common::Invocation& invocation);
void add_bench(CLI::App& app, common::Invocation& invocation);
void add_bench_engine(CLI::App& group, common::Invocation& invocation);  // of `bench`
void add_tokenize(CLI::App& app, common::Invocation& invocation);
void add_convert(CLI::App& app, common::Invocation& invocation);

}  // namespace keel::pipelines::cli::models
