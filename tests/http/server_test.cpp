#include "http/server.h"

#include <mutex>
#include <thread>

#include "core/error.h"
#include "core/log.h"
#include "http/load.h"
#include "http/raw_client.h"

namespace keel::http {
namespace {

using Catch::Matchers::ContainsSubstring;
using test::RawClient;

// A server in a thread of its own. It echoes bodies; requests to /wait stay open until release().
class Running {
 public:
  explicit Running(const Limits& limits = {}, const std::vector<std::string>& addresses = {"127.0.0.1:0"})
      : server_(
            addresses, limits,
            [](const Request& head) -> std::optional<Reply> {
              if (head.path == "/forbidden") return Reply{.status = 403, .body = "no"};
              return std::nullopt;
            },
            [this](Request request, Respond respond) { handle(std::move(request), std::move(respond)); },
            [](int status, const std::string&, const std::string& reason) { return Reply{.status = status, .body = reason}; }) {
    core::set_log_level("error");
    thread_ = std::thread([this] { server_.run(); });
  }
  ~Running() {
    server_.post([this] { server_.stop(); });
    thread_.join();
  }

  std::string address(size_t i = 0) const { return server_.addresses().at(i); }
  Server& server() { return server_; }

  void release() {
    const std::lock_guard lock(mutex_);
    for (auto& respond : waiting_)
      respond({.body = "late"});
    waiting_.clear();
  }
  size_t waiting() {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
  }
  // Whether `what` becomes true within five seconds.
  template <class What>
  bool comes_true(What what) {
    for (int i = 0; i < 500; ++i) {
      if (what()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

 private:
  void handle(Request request, Respond respond) {
    if (request.path != "/wait") return respond({.body = request.body + "|" + request.query + "|" + request.api_key});
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(respond));
  }

  std::mutex mutex_;
  std::vector<Respond> waiting_;
  Server server_;
  std::thread thread_;
};

}  // namespace

TEST_CASE("http: requests follow each other on one connection, and their parts arrive whole", "[http]") {
  Running running;
  const RawClient client(running.address());
  CHECK(client.send(test::post("/echo?a=b", "one", "X-Api-Key: k\r\n")));
  CHECK(test::body_of(client.reply()) == "one|a=b|k");
  CHECK(client.send(test::post("/echo", "two") + test::post("/echo", "three")));  // the second before the first is answered
  CHECK(test::body_of(client.reply()) == "two||");
  CHECK(test::body_of(client.reply()) == "three||");
  for (const char byte : test::post("/echo", "slow"))
    CHECK(client.send(std::string(1, byte)));
  CHECK(test::body_of(client.reply()) == "slow||");
  const RawClient head(running.address());
  CHECK(head.send("HEAD /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
  CHECK_THAT(head.rest(), ContainsSubstring("Content-Length: 2") && Catch::Matchers::EndsWith("\r\n\r\n"));
  CHECK(client.send(test::get("/echo")));
  CHECK_THAT(client.reply(), Catch::Matchers::Matches("[^]*\r\nDate: (Mon|Tue|Wed|Thu|Fri|Sat|Sun), \\d\\d [A-Z][a-z]{2} \\d{4} "
                                                      "\\d\\d:\\d\\d:\\d\\d GMT\r\n[^]*"));
  const RawClient old(running.address());
  CHECK(old.send("GET /echo HTTP/1.0\r\n\r\n"));
  CHECK(test::body_of(old.rest()) == "||");  // and it is closed
}

TEST_CASE("http: what may not be is refused with its status before the body is read, and nothing follows on the connection", "[http]") {
  Running running({.header_bytes = 2048, .headers = 10, .body_bytes = 1024});
  const std::string start = "POST /echo HTTP/1.1\r\nHost: x\r\n", end = "\r\n\r\n", next = test::get("/echo");
  std::string many;
  for (int i = 0; i < 20; ++i)
    many += "A" + std::to_string(i) + ": b\r\n";
  const std::vector<std::tuple<std::string, std::string, int>> cases = {
      {"chunked", start + "Transfer-Encoding: chunked" + end + "5\r\nhello\r\n0\r\n\r\n", 411},
      {"two lengths", start + "Content-Length: 5\r\nContent-Length: 6" + end + "hello!", 400},
      {"two equal lengths", start + "Content-Length: 5\r\nContent-Length: 5" + end + "hello", 400},
      {"a list of lengths", start + "Content-Length: 5, 5" + end + "hello", 400},
      {"no host", "POST /echo HTTP/1.1\r\nContent-Length: 5" + end + "hello", 400},
      {"two hosts", start + "Host: y\r\nContent-Length: 5" + end + "hello", 400},
      {"two equal hosts", start + "Host: x\r\nContent-Length: 5" + end + "hello", 400},
      {"an empty host", "POST /echo HTTP/1.1\r\nHost:\r\nContent-Length: 5" + end + "hello", 200},
      {"length and chunked", start + "Content-Length: 5\r\nTransfer-Encoding: chunked" + end + "0\r\n\r\n", 400},
      {"gzip transfer", start + "Content-Length: 5\r\nTransfer-Encoding: gzip" + end + "hello", 400},
      {"compressed", start + "Content-Encoding: gzip\r\nContent-Length: 5" + end + "hello", 415},
      {"negative length", start + "Content-Length: -5" + end + "hello", 400},
      {"huge length", start + "Content-Length: 99999999999999999999" + end + "hello", 400},
      {"long body", start + "Content-Length: 8000000" + end + std::string(8'000'000, 'x'), 413},
      {"many headers", start + many + "Content-Length: 0" + end, 431},
      {"GET with a body", "GET /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5" + end + "hello", 400},
      {"long header", start + "A: " + std::string(4000, 'x') + end, 431},
      {"long target", "GET /" + std::string(4000, 'x') + " HTTP/1.1" + end, 431},
      {"no path", "GET echo HTTP/1.1\r\nHost: x" + end, 400},
      {"absolute", "GET http://evil/ HTTP/1.1\r\nHost: x" + end, 400},
      {"no HTTP", "hello there\r\n\r\n", 400},
      {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
      {"TLS", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), 400},
      {"NUL in a header", start + std::string("A: b\0c\r\nContent-Length: 0", 24) + end, 400},
      {"line folding", start + "A: b\r\n c: d\r\nContent-Length: 0" + end, 200},  // obsolete, and read as one value
      {"screened", "POST /forbidden HTTP/1.1\r\nHost: x\r\nContent-Length: 1000" + end, 403}};
  for (const auto& [name, bytes, status] : cases) {
    INFO(name);
    const RawClient client(running.address());
    client.send(bytes);
    if (status == 200) {
      CHECK(test::status_of(client.reply()) == 200);
      continue;
    }
    client.send(next);  // what a smuggled request would be
    const std::string reply = client.rest(2);
    CHECK(test::status_of(reply) == status);
    CHECK(reply.find("HTTP/1.1 200") == std::string::npos);  // no second reply
  }
}

TEST_CASE("http: Expect: 100-continue is answered, and the body is waited for", "[http]") {
  Running running;
  const RawClient client(running.address());
  CHECK(client.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
  CHECK_THAT(client.reply(), ContainsSubstring("100 Continue"));
  CHECK(client.send("ok"));
  CHECK(test::body_of(client.reply()) == "ok||");
}

TEST_CASE("http: slow senders are cut off after their time in all, silent ones after the idle time, and others do not notice", "[http]") {
  Running running({.header_seconds = 1, .body_seconds = 1, .idle_seconds = 2});
  const RawClient header(running.address()), body(running.address()), silent(running.address());
  CHECK(header.send("GET /echo HTTP/1.1\r\n"));
  CHECK(body.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"));
  const auto begin = std::chrono::steady_clock::now();
  bool header_open = true, body_open = true;
  while (std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(1800)) {  // a byte now and then resets no clock
    header_open = header.send("a");
    body_open = body.send("a");
    const RawClient other(running.address());
    CHECK(other.send(test::get("/echo")));
    CHECK(test::status_of(other.reply()) == 200);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  CHECK_FALSE(header_open);
  CHECK_FALSE(body_open);
  CHECK(silent.rest(4).empty());
  CHECK(running.comes_true([&] { return running.server().counts().connections == 0; }));
}

TEST_CASE("http: a client that leaves is noticed while its request is worked on; every request is counted once", "[http]") {
  Running running;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<RawClient>(running.address()));
    CHECK(clients.back()->send(test::post("/wait", "x")));
  }
  REQUIRE(running.comes_true([&] { return running.waiting() == 6; }));
  clients[0]->close();
  CHECK(clients[3]->send("\r\n" + test::get("/echo")));  // a client that has sent its next request is watched, too
  clients[3]->close();
  CHECK(running.comes_true([&] { return running.server().counts().disconnected == 2; }));
  running.release();
  for (const int i : {1, 2, 4, 5})
    CHECK(test::body_of(clients[static_cast<size_t>(i)]->reply()) == "late");
  CHECK(running.comes_true([&] {
    const Counts counts = running.server().counts();
    return counts.accepted == 6 && counts.answered == 4 && counts.disconnected == 2;
  }));
}

TEST_CASE("http: at the limit of connections an idle one makes room; while all are at work further ones wait", "[http]") {
  Running running({.connections = 2});
  const RawClient one(running.address()), two(running.address());
  for (const auto* client : {&one, &two}) {
    CHECK(client->send(test::get("/echo")));
    CHECK(test::status_of(client->reply()) == 200);
  }
  const RawClient three(running.address());
  CHECK(three.send(test::post("/wait", "x")));
  CHECK(one.rest(2).empty());  // the longest idle one is closed
  CHECK(two.send(test::post("/wait", "x")));
  REQUIRE(running.comes_true([&] { return running.waiting() == 2; }));
  const RawClient four(running.address());
  CHECK(four.send(test::get("/echo")));
  CHECK(four.rest(0.3).empty());
  running.release();
  CHECK(test::body_of(three.reply()) == "late");
  CHECK(test::status_of(four.reply()) == 200);
}

TEST_CASE("http: a connection ends after its last request, and bodies over the room for all of them are refused", "[http]") {
  Running running({.body_bytes = 8192, .bodies_bytes = 4096, .requests = 2});
  const RawClient client(running.address());
  for (int i = 0; i < 3; ++i)
    client.send(test::get("/echo"));
  const std::string replies = client.rest(2);
  CHECK(replies.find("HTTP/1.1 200", replies.find("HTTP/1.1 200") + 1) != std::string::npos);
  CHECK_THAT(replies, ContainsSubstring("Connection: close"));
  const RawClient slow(running.address()), other(running.address());
  CHECK(slow.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n"));
  CHECK(running.comes_true([&] {
    const RawClient probe(running.address());
    probe.send(test::post("/echo", std::string(200, 'x')));
    return test::status_of(probe.reply()) == 503;
  }));
  const RawClient never(running.address());  // not even alone: another try would not help
  CHECK(never.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n\r\n"));
  CHECK(test::status_of(never.reply()) == 413);
  slow.send(std::string(4000, 'x'));
  CHECK(test::status_of(slow.reply()) == 200);
  CHECK(other.send(test::post("/echo", std::string(200, 'x'))));
  CHECK(test::status_of(other.reply()) == 200);
}

TEST_CASE("http: a Unix socket beside a port; its file goes with the server, and a dead server's file is taken over", "[http]") {
  const test::TemporaryFolder folder;
  const std::string socket = "unix:" + (folder / "s.sock").string();
  {
    Running running({}, {"127.0.0.1:0", socket});
    for (size_t i = 0; i < 2; ++i) {
      const RawClient client(running.address(i));
      CHECK(client.send(test::post("/echo", "x")));
      CHECK(test::body_of(client.reply()) == "x||");
    }
    CHECK_THROWS_WITH(Running({}, {socket}), ContainsSubstring("another server listens there"));
  }
  CHECK_FALSE(std::filesystem::exists(folder / "s.sock"));
  const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  (folder / "s.sock").string().copy(where.sun_path, sizeof where.sun_path - 1);
  REQUIRE(::bind(dead, reinterpret_cast<sockaddr*>(&where), sizeof where) == 0);
  ::close(dead);
  CHECK_NOTHROW(Running({}, {socket}));
  test::write_text(folder / "file", "precious");
  CHECK_THROWS_WITH(Running({}, {"unix:" + (folder / "file").string()}), ContainsSubstring("no socket"));
  CHECK(test::read_text(folder / "file") == "precious");
}

TEST_CASE("http: addresses that cannot be had are refused by name", "[http]") {
  for (const char* address :
       {"", "8000", ":8000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "127.0.0.1:80x", "unix:", "no.such.host.invalid:1"}) {
    INFO(address);
    CHECK_THROWS_AS(Running({}, {address}), core::UsageError);
  }
  Running running;
  CHECK_THROWS_WITH(Running({}, {running.address().substr(7)}), ContainsSubstring("in use"));
  CHECK((is_local("127.0.0.1:1") && is_local("[::1]:1") && is_local("unix:/x") && is_local("localhost:1")));
  CHECK((!is_local("0.0.0.0:1") && !is_local("[::]:1") && !is_local("example.org:1")));
}

TEST_CASE("http load: every request is sent at its moment, whatever the earlier ones do, and its wait counts", "[http]") {
  Running running;
  Load load{.url = parse_url(running.address() + "/echo"), .headers = {}, .bodies = {"a", "b"}, .moments = {0, 0.1, 0.2, 0.3}};
  for (const auto& outcome : run_load(load)) {
    CHECK(outcome.status == 200);
    CHECK((outcome.latency > 0 && outcome.latency < 5));
  }
  load.url = parse_url(running.address() + "/wait");
  std::thread later([&] {
    running.comes_true([&] { return running.waiting() == 4; });  // all four are on their way although none is answered
    running.release();
  });
  const auto waited = run_load(load);
  later.join();
  CHECK(waited[0].latency > 0.25);
  CHECK(waited[0].latency > waited[3].latency);
  load.url.path = "/forbidden";
  CHECK(run_load(load)[0].status == 403);
  load.timeout_seconds = 1;
  load.url.path = "/wait";
  CHECK(run_load(load)[3].status == 0);
}

TEST_CASE("http: while the server is closing, open connections end with their reply", "[http]") {
  Running running;
  const RawClient client(running.address());
  CHECK(client.send(test::post("/wait", "x")));
  REQUIRE(running.comes_true([&] { return running.waiting() == 1; }));
  running.server().post([&] { running.server().close_listeners(); });
  running.release();
  CHECK_THAT(client.rest(2), ContainsSubstring("Connection: close") && ContainsSubstring("late"));
}

}  // namespace keel::http
