#include "serve/run.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <exception>

#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "runtime/device.h"

namespace keel::serve {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kTrimAfter{5};
constexpr std::chrono::seconds kLastWrites{2};  // for the replies of those that were given up

std::atomic<int> terminations{0}, reloads{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_terminate(int) {
  if (terminations.fetch_add(1) > 0) _exit(143);
}
void on_reload(int) {
  reloads.fetch_add(1);
}

// In place of the handlers by which long work stops: a service goes on until what it accepted is answered.
void install_handlers() {
  terminations = 0, reloads = 0;
  struct sigaction action = {};
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  action.sa_handler = on_terminate;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  action.sa_handler = on_reload;
  sigaction(SIGHUP, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

// Loads models in a thread of its own: the first time, and again for every reload.
class Loader {
 public:
  Loader(const ModelsConfig& config, Service& service) : config_(config), service_(service) {}
  ~Loader() {
    if (thread_.joinable()) thread_.join();
  }

  bool busy() const { return busy_; }

  // One of the two is called from the thread, the latter with what went wrong; the models before then stay in use.
  void start(std::function<void()> loaded, std::function<void(const std::exception_ptr&)> failed) {
    if (thread_.joinable()) thread_.join();
    busy_ = true;
    thread_ = std::thread([this, loaded = std::move(loaded), failed = std::move(failed)] {
      std::exception_ptr failure;
      try {
        service_.use(load_models(config_));
        loaded();
      } catch (...) {
        failure = std::current_exception();
      }
      if (failure) failed(failure);
      busy_ = false;
    });
  }

 private:
  const ModelsConfig& config_;
  Service& service_;
  std::thread thread_;
  std::atomic<bool> busy_{false};
};

std::string what(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    return error.what();
  }
}

// As many file descriptors as connections and models need, where the system lets us.
void allow_connections(int64_t connections) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const auto wanted = static_cast<rlim_t>(connections) + 256;
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted)
    core::log_warn(fmt::format("{} open files are allowed, too few for http.connections {}: raise the limit (ulimit -n, LimitNOFILE)",
                               limit.rlim_cur, connections));
}

void check_addresses(const RunConfig& config) {
  for (const auto& address : config.bind)
    if (!http::is_local(address) && config.key_file.empty() && !config.insecure)
      throw core::UsageError(
          fmt::format("--bind {} can be reached from outside: give --keys FILE, or --insecure if everybody may ask", address));
}

}  // namespace

void run_service(const RunConfig& config) {
  check_addresses(config);
  allow_connections(config.service.http.connections);
  install_handlers();
  if (core::interrupt_requested()) throw core::Interrupted("stopped before the service began");
  std::error_code missing;
  if (!config.ready_file.empty()) std::filesystem::remove(config.ready_file, missing);  // of an earlier start
  Service service(config.service, config.key_file);
  http::Server server(
      config.bind, config.service.http, [&](const http::Request& head) { return service.screen(head); },
      [&](http::Request request, http::Respond respond) { service.handle(std::move(request), std::move(respond)); },
      [&](int status, const std::string& path, const std::string& reason) { return service.refuse_unread(status, path, reason); });
  service.count_with([&] { return server.counts(); });
  for (const auto& address : server.addresses())
    core::log_info(fmt::format("listening on {}", address));

  std::exception_ptr failed_start;
  const auto begin = Clock::now();
  {
    Loader loader(config.models, service);
    loader.start(
        [&] {
          core::log_info(fmt::format("ready after {:.1f} s", std::chrono::duration<double>(Clock::now() - begin).count()));
          if (!config.ready_file.empty()) core::write_file(config.ready_file, fmt::format("{}\n", fmt::join(server.addresses(), "\n")));
        },
        [&](const std::exception_ptr& failure) {
          failed_start = failure;
          server.post([&] { server.stop(); });
        });

    int reloaded = 0;
    std::optional<Clock::time_point> told;  // to stop
    bool closed = false, gave_up = false;
    const auto pending = [&] {
      const http::Counts counts = server.counts();
      return counts.receiving + counts.accepted - counts.answered - counts.disconnected;
    };
    bool trimmed = true;
    Clock::time_point last_work = Clock::now();
    server.every(20, [&] {
      if (pending() > 0 || service.queued_texts() > 0 || loader.busy()) {
        last_work = Clock::now(), trimmed = false;
      } else if (!trimmed && Clock::now() - last_work > kTrimAfter) {  // what a storm, or an old model, has freed
        runtime::return_freed_memory();
        trimmed = true;
      }
      if (const int asked = reloads; asked != reloaded && !loader.busy() && service.models() != nullptr) {
        reloaded = asked;
        try {
          service.read_keys();
        } catch (const std::exception& error) {
          core::log_error(fmt::format("the keys stay as they were: {}", error.what()));
        }
        loader.start(
            [&] {
              service.metrics().count("reloads_total", "result=\"done\"");
              core::log_info("the models are loaded again");
            },
            [&](const std::exception_ptr& failure) {
              service.metrics().count("reloads_total", "result=\"failed\"");
              core::log_error(fmt::format("the models stay as they were: {}", what(failure)));
            });
      }
      if (terminations == 0) return;
      const auto now = Clock::now();
      if (!told) {
        told = now;
        service.drain_soon();
        core::log_info(fmt::format("stopping: {} requests are still to be answered", pending()));
      }
      if (now - *told < std::chrono::seconds(config.service.drain_delay_seconds)) return;
      if (!closed) {
        closed = true;
        service.drain();
        server.close_listeners();
      }
      const auto most = std::chrono::seconds(config.service.drain_delay_seconds + config.service.drain_seconds);
      if (now - *told > most && !gave_up) {
        gave_up = true;
        core::log_warn(fmt::format(
            "{} requests are not answered within drain_seconds; they get 503, or are cut off if they are still being sent", pending()));
        service.give_up();
      }
      if (pending() == 0 || now - *told > most + kLastWrites) server.stop();
    });
    server.run();
    core::request_interrupt();                // a batch that is still computed stops at its next part
    if (terminations > 0 && loader.busy()) {  // nothing waits for models that are not there yet
      server.close_listeners();
      core::log_info("stopped while the models were loaded");
      std::_Exit(0);
    }
  }
  if (failed_start) std::rethrow_exception(failed_start);
}

}  // namespace keel::serve
