#include <nlohmann/json.hpp>

#include "core/json.h"
#include "serve/dialects/dialects.h"

namespace keel::serve::dialects {
namespace {

const char* tei_type(int status) {
  switch (status) {
    case 429:
      return "Overloaded";
    case 503:
      return "Unhealthy";
    case 424:
      return "Backend";
    default:
      return "Validation";
  }
}

const char* openai_type(int status) {
  switch (status) {
    case 401:
      return "Unauthorized";
    case 403:
      return "PermissionDeniedError";
    case 404:
      return "NotFoundError";
    case 429:
    case 503:
      return "ServiceUnavailableError";
    case 500:
      return "InternalServerError";
    default:
      return "BadRequestError";
  }
}

std::string tei_body(const char* type, const std::string& reason) {
  return core::dump_json({{"error", reason}, {"error_type", type}});
}

}  // namespace

std::string error_body(Family family, int status, const std::string& reason) {
  if (family == Family::tei) return status == 401 ? std::string() : tei_body(tei_type(status), reason);
  if (family == Family::vllm && status == 401) return core::dump_json({{"error", "Unauthorized"}});
  return core::dump_json({{"error", {{"message", reason}, {"type", openai_type(status)}, {"param", nullptr}, {"code", status}}}});
}

std::string error_body(Family family, Trouble trouble, const std::string& reason) {
  if (family == Family::tei && trouble == Trouble::empty) return tei_body("Empty", reason);
  return error_body(family, status_of(trouble, family), reason);
}

int status_of(Trouble trouble, Family family) {
  const bool tei = family == Family::tei;
  switch (trouble) {
    case Trouble::malformed:
    case Trouble::empty:
      return 400;
    case Trouble::invalid:
    case Trouble::overlong:
      return tei ? 422 : 400;
    case Trouble::too_many:
      return tei ? 422 : family == Family::vllm ? 400 : 413;
    case Trouble::unknown:
      return 404;
    case Trouble::overloaded:
      return tei ? 429 : 503;
    case Trouble::ending:
      return 503;
    case Trouble::model:
      return tei ? 424 : 500;
  }
  return 500;
}

}  // namespace keel::serve::dialects
