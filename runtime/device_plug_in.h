// What libkeel_KIND.so exports: a kind of device that LibTorch knows once the library is loaded.
#pragma once

namespace keel::runtime {

inline constexpr const char* kOpenDevice = "keel_open_device";

// Makes device `index` of the kind usable and says its c10::DeviceType; else why it is not, with the remedy (the text stays). Called once,
// before anything else of LibTorch is used.
using OpenDevice = const char*(int index, int* type);

}  // namespace keel::runtime
