#include "http/load.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>

#include "core/error.h"
#include "core/interrupt.h"

namespace keel::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using Clock = std::chrono::steady_clock;
using Endpoints = asio::ip::tcp::resolver::results_type;
constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

struct Work {
  const Load& load;
  asio::io_context io{1};
  Endpoints endpoints;
  Clock::time_point start;
  std::vector<LoadOutcome> outcomes;
};

Clock::time_point due(const Work& work, size_t i) {
  return work.start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(work.load.moments[i]));
}

asio::awaitable<int> ask(Work& work, const std::string& body) {
  beast::tcp_stream stream(work.io);
  stream.expires_after(std::chrono::seconds(work.load.timeout_seconds));
  if (const auto [error, endpoint] = co_await stream.async_connect(work.endpoints, kToken); error) co_return 0;
  const std::string request = request_text("POST", work.load.url, body, work.load.headers);
  if (const auto [error, bytes] = co_await asio::async_write(stream, asio::buffer(request), kToken); error) co_return 0;
  beast::flat_buffer buffer;
  beast::http::response_parser<beast::http::string_body> parser;
  parser.body_limit(uint64_t{1} << 30);
  if (const auto [error, bytes] = co_await beast::http::async_read(stream, buffer, parser, kToken); error) co_return 0;
  co_return static_cast<int>(parser.get().result_int());
}

asio::awaitable<void> one_request(Work& work, size_t i) {
  work.outcomes[i].status = co_await ask(work, work.load.bodies[i % work.load.bodies.size()]);
  work.outcomes[i].latency = std::chrono::duration<double>(Clock::now() - due(work, i)).count();
}

asio::awaitable<void> send_all(Work& work) {
  asio::steady_timer timer(work.io);
  for (size_t i = 0; i < work.load.moments.size() && !core::interrupt_requested(); ++i) {
    timer.expires_at(due(work, i));
    co_await timer.async_wait(kToken);
    asio::co_spawn(work.io, one_request(work, i), asio::detached);
  }
}

}  // namespace

std::vector<LoadOutcome> run_load(const Load& load) {
  if (load.url.tls) throw core::UsageError(fmt::format("{}: load is offered over plain http:// alone", text_of(load.url)));
  Work work{.load = load, .endpoints = {}, .start = {}, .outcomes = std::vector<LoadOutcome>(load.moments.size())};
  try {
    work.endpoints = asio::ip::tcp::resolver(work.io).resolve(load.url.host, load.url.port);
  } catch (const boost::system::system_error& error) {
    throw core::IoError(fmt::format("{}: {}", text_of(load.url), error.code().message()));
  }
  work.start = Clock::now();
  asio::co_spawn(work.io, send_all(work), asio::detached);
  while (!work.io.stopped() && !core::interrupt_requested())
    work.io.run_for(std::chrono::milliseconds(100));
  if (core::interrupt_requested()) throw core::Interrupted("the load was stopped");
  return work.outcomes;
}

}  // namespace keel::http
