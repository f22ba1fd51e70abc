// The OpenAPI document of the service.
#pragma once

#include <string>

namespace keel::serve {

std::string openapi_json(bool embeddings);

}  // namespace keel::serve
