// Models that lie on a device: the same answers, scores and training as on the CPU, without a host pointer to the device's memory.
#include "core/error.h"
#include "core/interrupt.h"
#include "ppo/small_chain.h"
#include "support/pretend_device.h"

namespace keel::ppo {
namespace {

std::pair<policy::Llama, reward::RewardModel> models_on(c10::Device device) {
  const test::Models models;
  return {policy::moved(models.policy, device), reward::moved(models.critic, device)};
}

}  // namespace

TEST_CASE("device: answers, scores and training of models that lie on it are those of the CPU up to rounding", "[ppo]") {
  const nlohmann::json host = test::small_chain(), device = test::small_chain(test::pretend_device());
  const auto &expected = host.at("exact"), &found = device.at("exact");
  REQUIRE(found.at("samples").size() == expected.at("samples").size());
  for (size_t i = 0; i < expected.at("samples").size(); ++i) {
    const auto &one = expected.at("samples")[i], &other = found.at("samples")[i];
    CHECK((other[0] == one[0] && other[1] == one[1] && other[2] == one[2] && other[4] == one[4]));
    for (size_t t = 0; t < one[3].size(); ++t)
      CHECK(other[3][t].get<double>() == Catch::Approx(one[3][t].get<double>()).margin(1e-5));
  }
  for (size_t i = 0; i < expected.at("scores").size(); ++i)
    CHECK(found.at("scores")[i].get<double>() == Catch::Approx(expected.at("scores")[i].get<double>()).margin(1e-5));
  for (size_t i = 0; i < expected.at("logprobs").size(); ++i)
    for (size_t t = 0; t < expected.at("logprobs")[i].size(); ++t)
      CHECK(found.at("logprobs")[i][t].get<double>() == Catch::Approx(expected.at("logprobs")[i][t].get<double>()).margin(1e-5));
  test::check_close(device, host);
}

TEST_CASE("device: PPO with adapters, a shared critic and averaged weights, stopped and gone on with, ends in the same bits", "[ppo]") {
  PpoConfig config = test::small_config();
  config.lora = {.rank = 2, .alpha = 4, .target_modules = {"q_proj", "down_proj"}};
  config.ema_decay = .5;
  test::share_critic(config);
  const auto run = [&](const test::TemporaryFolder& folder, int64_t interrupt_at) {
    const auto [policy, critic] = models_on(test::pretend_device());
    PpoJob job = test::small_job();
    int64_t iteration = 0;
    job.reward = [&](const std::vector<core::Sample>& samples) {
      if (++iteration == interrupt_at) core::request_interrupt();
      return test::likes_seven(samples);
    };
    return train(policy, critic, job, config, 1, folder.path());
  };
  const test::TemporaryFolder straight, stopped;
  const PpoResult expected = run(straight, -1);
  CHECK(expected.policy.layers[0].q.device() == test::pretend_device());
  CHECK_THROWS_AS(run(stopped, 2), core::Interrupted);
  core::clear_interrupt();
  const PpoResult result = run(stopped, -1);
  CHECK(test::digest(result.policy) == test::digest(expected.policy));
  CHECK(test::digest(result.critic) == test::digest(expected.critic));
}

TEST_CASE("device: weights come back from it as they went", "[ppo]") {
  const test::TemporaryFolder folder;
  const test::Models models;
  const auto [policy, critic] = models_on(test::pretend_device());
  CHECK(test::digest(policy) == test::digest(models.policy));
  reward::save_reward_model(critic, folder.path(), 0);
  CHECK(test::digest(reward::load_reward_model(folder.path())) == test::digest(models.critic));
  CHECK(policy::moved(policy, test::pretend_device()).norm.is_same(policy.norm));
}

}  // namespace keel::ppo
