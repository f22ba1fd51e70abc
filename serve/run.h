// A service from its start to its end: models are loaded while it listens, replaced on SIGHUP, and SIGTERM ends it in order.
#pragma once

#include <string>
#include <vector>

#include "serve/models.h"
#include "serve/service.h"

namespace keel::serve {

struct RunConfig {
  ServiceConfig service;
  ModelsConfig models;
  std::vector<std::string> bind{"127.0.0.1:8000"};
  std::string key_file;    // "": no keys
  std::string ready_file;  // gets the addresses once the models are there; "": none
  bool insecure = false;   // a public address without keys
};

// Returns after SIGTERM or SIGINT, when what was accepted is answered; a second signal ends the process at once (143). UsageError and
// DataError for addresses, keys and models that cannot be used.
void run_service(const RunConfig& config);

}  // namespace keel::serve
