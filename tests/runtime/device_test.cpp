#include "runtime/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include "core/error.h"
#include "support/test.h"

TEST_CASE("device: cpu is one; a device that is not there and anything else are usage errors", "[runtime]") {
  CHECK(keel::runtime::open_device("cpu").is_cpu());
  for (const char* name : {"CPU", "cuda:99", "cuda:", "cuda:1x", "cuda:-1", "cpu:0", "parquet", "nowhere", ""})
    CHECK_THROWS_AS(keel::runtime::open_device(name), keel::core::UsageError);
  CHECK(keel::runtime::open_device("cpu").is_cpu());
  CHECK(keel::runtime::device_kind() == "cpu");
}

TEST_CASE("device: the process computes deterministically with the threads it is given", "[runtime]") {
  CHECK(keel::runtime::configure_process(1) == 1);
  CHECK(keel::runtime::configure_process(1) == 1);  // a second call is harmless
  CHECK(at::get_num_threads() == 1);
  CHECK(at::globalContext().deterministicAlgorithms());
  CHECK_FALSE(keel::runtime::cpu_capability().empty());
}
