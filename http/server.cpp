#include "http/server.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <ctime>
#include <filesystem>
#include <list>
#include <map>

#include "core/error.h"
#include "core/log.h"

namespace keel::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace fs = std::filesystem;
using Stream = beast::basic_stream<asio::generic::stream_protocol>;
using Parser = beast::http::request_parser<beast::http::string_body>;
using Field = beast::http::field;
using asio::awaitable;

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);  // errors as values
constexpr std::chrono::seconds kLinger{2};

struct Address {
  std::string host, port;  // or
  fs::path socket;
};

Address parse_address(const std::string& bind) {
  if (bind.starts_with("unix:")) {
    Address address{.host = {}, .port = {}, .socket = bind.substr(5)};
    if (address.socket.empty()) throw core::UsageError(fmt::format("--bind {}: give the path of a socket, unix:/run/keel.sock", bind));
    return address;
  }
  const size_t colon = bind.rfind(':');
  if (colon == std::string::npos || colon == 0)
    throw core::UsageError(fmt::format("--bind {}: must be HOST:PORT, [IPv6]:PORT or unix:PATH", bind));
  Address address{.host = bind.substr(0, colon), .port = bind.substr(colon + 1), .socket = {}};
  if (address.host.starts_with('[') && address.host.ends_with(']')) address.host = address.host.substr(1, address.host.size() - 2);
  uint16_t number = 0;
  const auto [end, error] = std::from_chars(address.port.data(), address.port.data() + address.port.size(), number);
  if (address.port.empty() || error != std::errc() || *end != '\0')
    throw core::UsageError(fmt::format("--bind {}: the port must be a number from 0 to 65535", bind));
  return address;
}

// Removes the file of a server that is gone; one that answers keeps its place.
void free_socket_path(const fs::path& path, asio::io_context& io) {
  if (!fs::is_socket(path)) {
    if (fs::exists(path)) throw core::UsageError(fmt::format("--bind unix:{} is there already and no socket", path.string()));
    return;
  }
  asio::local::stream_protocol::socket probe(io);
  boost::system::error_code refused;
  probe.connect(asio::local::stream_protocol::endpoint(path.string()), refused);
  if (!refused) throw core::UsageError(fmt::format("--bind unix:{}: another server listens there", path.string()));
  if (refused != asio::error::connection_refused)
    throw core::UsageError(fmt::format("--bind unix:{}: {}", path.string(), refused.message()));
  fs::remove(path);
}

// "Sun, 06 Nov 1994 08:49:37 GMT", RFC 9110, 5.6.7.
std::string date_now() {
  return fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(std::time(nullptr)));
}

std::string text_of(beast::string_view view) {
  return {view.data(), view.size()};
}

// The reply to a request that waits for it, and the alarm that wakes its session up.
struct Pending {
  explicit Pending(asio::io_context& io) : arrived(io, asio::steady_timer::time_point::max()) {}
  asio::steady_timer arrived;
  std::optional<Reply> reply;
};

// Status and reason by which a header is refused, if it is.
std::optional<std::pair<int, std::string>> header_problem(const Parser& parser, const Limits& limits) {
  const auto& head = parser.get();
  if (std::distance(head.begin(), head.end()) > limits.headers) return {{431, fmt::format("more than {} headers", limits.headers)}};
  if (head.count(Field::transfer_encoding) > 0) return {{411, "Transfer-Encoding is not accepted; send Content-Length"}};
  if (head.count(Field::content_encoding) > 0) return {{415, "Content-Encoding is not accepted; send the body as it is"}};
  const auto hosts = head.count(Field::host);  // RFC 9112, 3.2
  if (hosts > 1 || (hosts == 0 && head.version() >= 11)) return {{400, "a request needs one Host header"}};
  if (const auto length = head[Field::content_length]; head.count(Field::content_length) > 1 || length.find(',') != length.npos)
    return {{400, "a request needs one Content-Length"}};
  const int64_t longest = std::min(limits.body_bytes, limits.bodies_bytes);
  if (const auto length = parser.content_length(); length && *length > static_cast<uint64_t>(longest))
    return {{413, fmt::format("the body is longer than {} bytes", longest)}};
  if (head.target().empty() || head.target()[0] != '/') return {{400, "the request's target must be a path"}};
  return std::nullopt;
}

std::pair<int, std::string> read_problem(const beast::error_code& error, const Limits& limits) {
  if (error == beast::http::error::header_limit) return {431, fmt::format("the headers are longer than {} bytes", limits.header_bytes)};
  if (error == beast::http::error::body_limit) return {413, fmt::format("the body is longer than {} bytes", limits.body_bytes)};
  return {400, "this is not a well-formed HTTP/1.1 request"};
}

// Whether the client has left, once its socket is readable; else it sends its next request already.
bool has_left(Stream& stream) {
  char byte = 0;
  const auto got = ::recv(stream.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

// Rethrown out of run(): whatever ends a listener or a repeated task unasked ends the server.
constexpr auto kRethrow = [](const std::exception_ptr& failed) {
  if (failed) std::rethrow_exception(failed);
};

// Adds to a count while it lives.
class Counted {
 public:
  Counted(std::atomic<int64_t>& count, int64_t amount) : count_(count), amount_(amount) { count_ += amount_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { count_ -= amount_; }

 private:
  std::atomic<int64_t>& count_;
  int64_t amount_;
};

}  // namespace

// Sessions hold it by reference: they live in its io_context. Replies, which come from other threads, share it.
struct Server::Implementation {
  Implementation(const Limits& most, Screen screen_head, Handler handle_request, Refusal refuse_request)
      : limits(most),
        screen(std::move(screen_head)),
        handler(std::move(handle_request)),
        refusal(std::move(refuse_request)),
        freed(io, asio::steady_timer::time_point::max()) {}

  std::weak_ptr<Implementation> owner;  // of itself
  Limits limits;
  Screen screen;
  Handler handler;
  Refusal refusal;
  // Before io, whose sessions count until it destroys them.
  std::atomic<int64_t> connections{0}, accepted{0}, answered{0}, disconnected{0}, receiving{0};
  std::atomic<int64_t> body_bytes{0};  // bytes of bodies that are being read or worked on
  asio::io_context io{1};
  std::list<asio::ip::tcp::acceptor> tcp;
  std::list<asio::local::stream_protocol::acceptor> local;
  asio::steady_timer freed;  // wakes the listener up when a connection ends or has nothing to do
  std::vector<fs::path> socket_paths;
  std::vector<std::string> addresses;
  bool draining = false;
  uint64_t numbers = 0;
  std::map<uint64_t, Stream*> idle;  // connections that wait for a request, the oldest first

  ~Implementation() { remove_sockets(); }
  void remove_sockets() {
    std::error_code missing;
    for (const auto& path : std::exchange(socket_paths, {}))
      fs::remove(path, missing);
  }

  void listen(const std::string& bind);
  template <class Acceptor>
  awaitable<void> accept(Acceptor& acceptor);
  awaitable<void> serve(Stream stream, uint64_t number);
  awaitable<bool> serve_one(Stream& stream, beast::flat_buffer& buffer, uint64_t number, bool last);
  awaitable<std::optional<Reply>> wait_for_reply(Stream& stream, beast::flat_buffer& buffer, Pending& pending);
  awaitable<bool> write(Stream& stream, Reply reply, bool keep_alive, bool head_only, unsigned version);
  awaitable<void> linger(Stream& stream);
};

void Server::Implementation::listen(const std::string& bind) {
  const Address where = parse_address(bind);
  try {
    if (!where.socket.empty()) {
      free_socket_path(where.socket, io);
      const asio::local::stream_protocol::endpoint endpoint(where.socket.string());
      auto& acceptor = local.emplace_back(io, endpoint.protocol());
      acceptor.bind(endpoint);
      socket_paths.push_back(where.socket);
      acceptor.listen(4096);
      addresses.push_back(bind);
      return;
    }
    asio::ip::tcp::resolver resolver(io);
    const auto endpoint = resolver.resolve(where.host, where.port)->endpoint();
    auto& acceptor = tcp.emplace_back(io, endpoint.protocol());
    acceptor.set_option(asio::ip::tcp::acceptor::reuse_address(true));
    acceptor.bind(endpoint);
    acceptor.listen(4096);
    const std::string host = endpoint.address().is_v6() ? "[" + endpoint.address().to_string() + "]" : endpoint.address().to_string();
    addresses.push_back(fmt::format("http://{}:{}", host, acceptor.local_endpoint().port()));
  } catch (const boost::system::system_error& error) {
    throw core::UsageError(fmt::format("--bind {}: {}", bind, error.code().message()));
  }
}

template <class Acceptor>
awaitable<void> Server::Implementation::accept(Acceptor& acceptor) {
  while (acceptor.is_open()) {
    asio::generic::stream_protocol::socket socket(io);
    const auto [error] = co_await acceptor.async_accept(socket, kToken);
    if (error) {
      if (!acceptor.is_open()) break;
      asio::steady_timer pause(io, std::chrono::milliseconds(50));  // no file descriptor is free, say
      co_await pause.async_wait(kToken);
      continue;
    }
    int yes = 1;
    ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    while (connections >= limits.connections && idle.empty())
      co_await freed.async_wait(kToken);
    if (connections >= limits.connections) {  // the one that has asked nothing for longest makes room
      idle.begin()->second->cancel();
      idle.erase(idle.begin());
    }
    ++connections;
    asio::co_spawn(io, serve(Stream(std::move(socket)), ++numbers), [this](const std::exception_ptr& failed) {
      --connections;
      freed.cancel();
      try {
        if (failed) std::rethrow_exception(failed);
      } catch (const std::exception& problem) {
        core::log_error(fmt::format("a connection ended by {}", problem.what()));
      }
    });
  }
}

awaitable<void> Server::Implementation::serve(Stream stream, uint64_t number) {
  beast::flat_buffer buffer;
  for (int64_t served = 1;; ++served)
    if (!co_await serve_one(stream, buffer, number, served == limits.requests)) break;
}

// One request and its reply. False where the connection is to end.
awaitable<bool> Server::Implementation::serve_one(Stream& stream, beast::flat_buffer& buffer, uint64_t number, bool last) {
  if (buffer.size() == 0) {
    stream.expires_after(std::chrono::seconds(limits.idle_seconds));
    idle.emplace(number, &stream);
    freed.cancel();
    const auto [error, bytes] = co_await stream.async_read_some(buffer.prepare(4096), kToken);
    idle.erase(number);
    if (error) co_return false;
    buffer.commit(bytes);
  }
  Parser parser;
  parser.header_limit(static_cast<uint32_t>(limits.header_bytes));
  parser.body_limit(static_cast<uint64_t>(limits.body_bytes));
  stream.expires_after(std::chrono::seconds(limits.header_seconds));
  const auto [bad_header, header_bytes] = co_await beast::http::async_read_header(stream, buffer, parser, kToken);
  if (bad_header == beast::error::timeout || bad_header == beast::http::error::end_of_stream) co_return false;
  if (bad_header && bad_header.category() != beast::http::make_error_code(beast::http::error::bad_method).category()) co_return false;

  Request request;
  const auto& head = parser.get();
  const std::string target = text_of(head.target());
  request.path = target.substr(0, target.find('?'));
  const auto refuse = [&](const std::pair<int, std::string>& problem) { return refusal(problem.first, request.path, problem.second); };
  const bool head_only = head.method() == beast::http::verb::head;
  std::optional<Reply> refused;
  if (bad_header) {
    refused = refuse(read_problem(bad_header, limits));
  } else if (const auto problem = header_problem(parser, limits)) {
    refused = refuse(*problem);
  } else {
    request.method = text_of(head.method_string());
    if (const size_t mark = target.find('?'); mark != std::string::npos) request.query = target.substr(mark + 1);
    request.authorization = text_of(head[Field::authorization]);
    request.api_key = text_of(head["X-Api-Key"]);
    request.content_type = text_of(head[Field::content_type]);
    request.fetch_site = text_of(head["Sec-Fetch-Site"]);
    refused = screen(request);
    const bool takes_body = head.method() != beast::http::verb::get && !head_only;
    if (!refused && !takes_body && parser.content_length().value_or(0) > 0) refused = refuse({400, "this method takes no body"});
    if (!refused && body_bytes + static_cast<int64_t>(parser.content_length().value_or(0)) > limits.bodies_bytes)
      refused = refuse({503, "too many bytes are waiting; try again"});
  }
  if (refused) {  // its body is not read, so nothing can follow on this connection
    if (co_await write(stream, std::move(*refused), false, head_only, 11)) co_await linger(stream);
    co_return false;
  }

  const Counted body(body_bytes, static_cast<int64_t>(parser.content_length().value_or(0)));
  std::optional<Counted> being_read(std::in_place, receiving, 1);
  stream.expires_after(std::chrono::seconds(limits.body_seconds));
  if (beast::iequals(head[Field::expect], "100-continue")) {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    const auto [error, bytes] = co_await asio::async_write(stream, asio::buffer(kContinue), kToken);
    if (error) co_return false;
  }
  const bool keep_alive = head.keep_alive() && !last;
  const unsigned version = head.version();
  const auto [bad_body, read_bytes] = co_await beast::http::async_read(stream, buffer, parser, kToken);
  if (bad_body == beast::error::timeout || bad_body == beast::http::error::partial_message) co_return false;
  if (bad_body) {
    if (co_await write(stream, refuse(read_problem(bad_body, limits)), false, head_only, 11)) co_await linger(stream);
    co_return false;
  }
  request.body = std::move(parser.get().body());

  const auto gone = std::make_shared<std::atomic<bool>>(false);
  request.gone = gone;
  const auto pending = std::make_shared<Pending>(io);
  ++accepted;
  being_read.reset();
  const std::string path = request.path;
  try {
    handler(std::move(request), [owner = owner.lock(), pending](Reply reply) {
      asio::post(owner->io, [pending, reply = std::move(reply)]() mutable {
        pending->reply = std::move(reply);
        pending->arrived.cancel();
      });
    });
  } catch (const std::exception& problem) {
    core::log_error(fmt::format("a request could not be handled: {}", problem.what()));
    pending->reply = refusal(500, path, "the request could not be handled");
  }
  stream.expires_never();
  auto reply = co_await wait_for_reply(stream, buffer, *pending);
  if (!reply || !co_await write(stream, std::move(*reply), keep_alive && !draining, head_only, version)) {
    gone->store(true);
    ++disconnected;
    co_return false;
  }
  ++answered;
  co_return keep_alive && !draining;
}

// Nothing where the client leaves first.
awaitable<std::optional<Reply>> Server::Implementation::wait_for_reply(Stream& stream, beast::flat_buffer& buffer, Pending& pending) {
  using namespace asio::experimental::awaitable_operators;
  while (!pending.reply) {
    if (buffer.size() >= static_cast<size_t>(limits.header_bytes)) {  // its next requests are here already: its end cannot be seen
      co_await pending.arrived.async_wait(kToken);
      continue;
    }
    const auto first = co_await (pending.arrived.async_wait(kToken) || stream.socket().async_wait(asio::socket_base::wait_read, kToken));
    if (first.index() == 0 || pending.reply) continue;
    if (has_left(stream)) co_return std::nullopt;
    const auto [error, bytes] = co_await stream.async_read_some(buffer.prepare(4096), kToken);
    if (error) co_return std::nullopt;
    buffer.commit(bytes);
  }
  co_return std::move(pending.reply);
}

awaitable<bool> Server::Implementation::write(Stream& stream, Reply reply, bool keep_alive, bool head_only, unsigned version) {
  beast::http::response<beast::http::string_body> response(static_cast<beast::http::status>(reply.status), version);
  response.set(Field::server, "keel");
  response.set(Field::date, date_now());
  response.set(Field::content_type, reply.content_type);
  for (const auto& [name, value] : reply.headers)
    response.insert(name, value);
  response.keep_alive(keep_alive);
  response.body() = std::move(reply.body);
  response.prepare_payload();
  if (head_only) response.body().clear();  // its length stays in the header
  stream.expires_after(std::chrono::seconds(limits.body_seconds));
  const auto [error, bytes] = co_await beast::http::async_write(stream, response, kToken);
  co_return !error;
}

// A socket that is closed with unread bytes is reset, and the reply may never be seen: what comes is read for a while, and dropped.
awaitable<void> Server::Implementation::linger(Stream& stream) {
  boost::system::error_code ignored;
  stream.socket().shutdown(asio::socket_base::shutdown_send, ignored);
  stream.expires_after(kLinger);
  char dropped[4096];
  for (bool open = true; open;) {
    const auto [error, bytes] = co_await stream.async_read_some(asio::buffer(dropped), kToken);
    open = !error;
  }
}

Server::Server(const std::vector<std::string>& addresses, const Limits& limits, Screen screen, Handler handler, Refusal refusal)
    : implementation_(std::make_shared<Implementation>(limits, std::move(screen), std::move(handler), std::move(refusal))) {
  implementation_->owner = implementation_;
  for (const auto& address : addresses)
    implementation_->listen(address);
}

Server::~Server() {
  close_listeners();
}

const std::vector<std::string>& Server::addresses() const {
  return implementation_->addresses;
}

void Server::run() {
  auto& self = *implementation_;
  for (auto& acceptor : self.tcp)
    asio::co_spawn(self.io, self.accept(acceptor), kRethrow);
  for (auto& acceptor : self.local)
    asio::co_spawn(self.io, self.accept(acceptor), kRethrow);
  const auto work = asio::make_work_guard(self.io);
  self.io.run();
}

void Server::post(std::function<void()> work) {
  asio::post(implementation_->io, std::move(work));
}

namespace {
awaitable<void> repeat(asio::io_context& io, std::chrono::milliseconds pause, std::function<void()> work) {
  asio::steady_timer timer(io);
  for (;;) {
    timer.expires_after(pause);
    co_await timer.async_wait(kToken);
    try {
      work();
    } catch (const std::exception& problem) {
      core::log_error(problem.what());
    }
  }
}
}  // namespace

void Server::every(int64_t milliseconds, std::function<void()> work) {
  asio::co_spawn(implementation_->io, repeat(implementation_->io, std::chrono::milliseconds(milliseconds), std::move(work)), kRethrow);
}

void Server::close_listeners() {
  implementation_->draining = true;
  boost::system::error_code ignored;
  for (auto& acceptor : implementation_->tcp)
    acceptor.close(ignored);
  for (auto& acceptor : implementation_->local)
    acceptor.close(ignored);
  implementation_->freed.cancel();
  implementation_->remove_sockets();
}

void Server::stop() {
  implementation_->io.stop();
}

bool is_local(const std::string& address) {
  const Address where = parse_address(address);
  boost::system::error_code no_address;
  const auto address_of_host = asio::ip::make_address(where.host, no_address);
  return !where.socket.empty() || where.host == "localhost" || (!no_address && address_of_host.is_loopback());
}

Counts Server::counts() const {
  const auto& self = *implementation_;
  return {.connections = self.connections,
          .receiving = self.receiving,
          .accepted = self.accepted,
          .answered = self.answered,
          .disconnected = self.disconnected};
}

}  // namespace keel::http
