// What the pretend device promises to tests: it is as strict as a GPU.
#include "support/pretend_device.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "support/test.h"

namespace keel::test {
namespace {

at::Tensor on_device(const at::Tensor& tensor) {
  return tensor.to(pretend_device());
}

}  // namespace

TEST_CASE("pretend device: operators, views and gradients are the CPU's", "[runtime]") {
  const at::Tensor a = on_device(tensor({{1, 2, 3}, {4, 5, 6}})).set_requires_grad(true);
  const at::Tensor loss = (a.t().slice(0, 1).mul(2) + 1).square().sum();
  loss.backward();
  CHECK(a.grad().device() == pretend_device());
  CHECK(a.grad().cpu().equal(tensor({{0, 20, 28}, {0, 44, 52}})));
  CHECK(loss.item<float>() == 25 + 49 + 121 + 169);
  at::Tensor b = on_device(tensor({1, 2}));
  b.add_(1).select(0, 0).fill_(7);
  CHECK(b.cpu().equal(tensor({7, 3})));
}

TEST_CASE("pretend device: an operator with tensors of two devices throws, single numbers may come from the host", "[runtime]") {
  const at::Tensor there = on_device(tensor({1, 2}));
  CHECK_THROWS_WITH(there + tensor({1, 2}), Catch::Matchers::ContainsSubstring("on the same device"));
  CHECK_THROWS_WITH(at::cat({tensor({1}), there}), Catch::Matchers::ContainsSubstring("on the same device"));
  CHECK_THROWS_WITH(there.index_select(0, at::zeros({1}, at::kLong)), Catch::Matchers::ContainsSubstring("on the same device"));
  CHECK((there * at::scalar_tensor(2)).cpu().equal(tensor({2, 4})));
}

TEST_CASE("pretend device: the host cannot read its memory by a pointer", "[runtime]") {
  const at::Tensor there = on_device(tensor({1, 2}));
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);
    const volatile float value = *there.const_data_ptr<float>();
    _exit(value == 1 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
}

}  // namespace keel::test
