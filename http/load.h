// Requests at given moments, whatever the server does meanwhile (open loop): what waits for a slow server is part of its latency.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "http/client.h"

namespace keel::http {

struct Load {
  Url url;
  std::map<std::string, std::string> headers;
  std::vector<std::string> bodies;  // POSTed in turn, from the first again where there are fewer than requests
  std::vector<double> moments;      // seconds from the start at which a request is sent, ascending
  int64_t timeout_seconds = 60;
};

struct LoadOutcome {
  int status = 0;      // 0: no reply
  double latency = 0;  // seconds from the moment at which it should have been sent to the last byte of its reply
};

// A connection of its own for each request, as OpenRLHF's clients make. One outcome a request, in order. Interrupted on SIGTERM, IoError
// where the host cannot be found, UsageError for https.
std::vector<LoadOutcome> run_load(const Load& load);

}  // namespace keel::http
