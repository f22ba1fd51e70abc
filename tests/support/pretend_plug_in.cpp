// libkeel_pretend.so: the pretend device for the keel binary, --device pretend.
#include "runtime/device_plug_in.h"
#include "support/pretend_device.h"

extern "C" const char* keel_open_device(int index, int* type) {
  if (index > 0) return "there is one such device, numbered from 0";
  *type = static_cast<int>(keel::test::pretend_device().type());
  return nullptr;
}
