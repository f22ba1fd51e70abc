// An asynchronous HTTP/1.1 server for small JSON requests (Boost.Beast behind a plain interface). It knows nothing of scoring.
//
// Every limit below is a total, not one a read: a client that sends one byte a second is cut off like one that sends none. Refused before
// the body is read: Transfer-Encoding (411), Content-Encoding (415), a body over the limit (413), two lengths, no Host or two (400), and
// whatever Screen refuses.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/config.h"

namespace keel::http {

struct Limits {
  int64_t header_bytes = 8192;
  int64_t headers = 64;
  int64_t body_bytes = 16 << 20;
  int64_t bodies_bytes = int64_t{1} << 30;
  int64_t connections = 4096;
  int64_t header_seconds = 10;
  int64_t body_seconds = 30;
  int64_t idle_seconds = 75;  // longer than a proxy's own, or the proxy meets closed connections
  int64_t requests = 10000;   // on one connection
};

inline void visit(Limits& limits, core::Fields& fields) {
  fields("header_bytes", limits.header_bytes, "longest request line and headers", core::between(1024, 1 << 20));
  fields("headers", limits.headers, "most headers of a request", core::between(8, 1000));
  fields("body_bytes", limits.body_bytes, "longest body", core::between(1024, int64_t{1} << 30));
  fields("bodies_bytes", limits.bodies_bytes, "most bytes of bodies in memory, of all connections; further requests get 503",
         core::at_least(1024));
  fields("connections", limits.connections, "most open connections; a further one takes the place of the longest idle one, or waits",
         core::between(1, 100'000));
  fields("header_seconds", limits.header_seconds, "longest time for the headers, in all", core::between(1, 3600));
  fields("body_seconds", limits.body_seconds, "longest time for the body, and for the reply to be taken, in all", core::between(1, 3600));
  fields("idle_seconds", limits.idle_seconds, "how long a connection may wait for its next request", core::between(1, 86400));
  fields("requests", limits.requests, "most requests of a connection", core::at_least(1));
}

struct Request {
  std::string method, path, query;  // the path as it was sent, without "?" and what follows
  std::string authorization, api_key, content_type;
  std::string fetch_site;  // a browser's Sec-Fetch-Site: "cross-site", "same-origin"
  std::string body;
  std::shared_ptr<const std::atomic<bool>> gone;  // true once the client has closed the connection
};

struct Reply {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};  // never text of a client
};

// Called with what is known before the body; a reply refuses the request.
using Screen = std::function<std::optional<Reply>(const Request& head)>;
// Takes the reply to one request, once, from any thread.
using Respond = std::function<void(Reply)>;
// Called in the server's thread: it must hand long work on.
using Handler = std::function<void(Request request, Respond respond)>;

// What the server itself refuses, e.g. 413 with "the body is longer than 16777216 bytes", in the form that clients of `path` expect.
using Refusal = std::function<Reply(int status, const std::string& path, const std::string& reason)>;

struct Counts {
  int64_t connections = 0;   // open now
  int64_t receiving = 0;     // requests whose body is being read now
  int64_t accepted = 0;      // requests that reached the handler
  int64_t answered = 0;      // replies that were written whole
  int64_t disconnected = 0;  // clients that left before
};

class Server {
 public:
  // Listens at once; no connection is taken before run(). An address is "HOST:PORT" (port 0: any free one), "[IPv6]:PORT" or "unix:PATH".
  // UsageError for one that cannot be had.
  Server(const std::vector<std::string>& addresses, const Limits& limits, Screen screen, Handler handler, Refusal refusal);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const std::vector<std::string>& addresses() const;             // "http://127.0.0.1:8000", "unix:PATH"
  void run();                                                    // serves until stop()
  void post(std::function<void()> work);                         // runs in the server's thread; from any thread
  void every(int64_t milliseconds, std::function<void()> work);  // in the server's thread, from run() on

  // From the server's thread. close_listeners(): no further connection; open ones are told to close after their reply. stop(): run()
  // returns, whatever is open.
  void close_listeners();
  void stop();
  Counts counts() const;

 private:
  struct Implementation;
  std::shared_ptr<Implementation> implementation_;
};

// Whether only this machine can reach an address. UsageError for a malformed one.
bool is_local(const std::string& address);

}  // namespace keel::http
