// Facts and splits of the world of sandbox/world.h.
#include "sandbox/world.h"

#include <algorithm>
#include <set>

#include "core/rng.h"
#include "sandbox/words.h"

namespace keel::sandbox {
namespace {

using Groups = std::vector<Words>;  // tasks that must stay in one split: all about one entity, one pair of opposites, one set of digits

// 20 % of the groups are for the test, 15 % for validation (at least one each), after a shuffle.
void divide(World& world, const std::string& family, Groups groups, core::Stream& stream) {
  stream.shuffle(groups);
  const size_t test = (groups.size() + 4) / 5;
  const size_t validation = std::max<size_t>(1, groups.size() * 3 / 20);
  auto& splits = world.tasks[family];
  for (size_t i = 0; i < groups.size(); ++i) {
    const Split split = i < test ? Split::test : i < test + validation ? Split::validation : Split::train;
    auto& tasks = splits[static_cast<size_t>(split)];
    tasks.insert(tasks.end(), groups[i].begin(), groups[i].end());
  }
}

Groups singles(const Words& tasks) {
  Groups groups;
  for (const auto& task : tasks)
    groups.push_back({task});
  return groups;
}

std::string join(const Words& words, const std::string& separator) {
  std::string text;
  for (const auto& word : words)
    text += (text.empty() ? "" : separator) + word;
  return text;
}

void add_facts(World& world, core::Stream& stream) {
  Groups person_groups, boat_groups;
  for (const bool boat : {false, true}) {
    for (const auto& entity : boat ? boats() : people()) {
      Words tasks;
      for (const auto& attribute : attributes()) {
        if (attribute.of_boat != boat) continue;
        const std::string key = attribute.name + ":" + entity;
        world.facts[key] = stream.pick(attribute.values);
        tasks.push_back("lookup:" + key);
      }
      (boat ? boat_groups : person_groups).push_back(tasks);
    }
  }
  divide(world, "lookup", person_groups, stream);
  divide(world, "lookup", boat_groups, stream);
  Words doses = split_words("1 2 3 4 5 6");
  stream.shuffle(doses);
  for (size_t i = 0; i < ingredients().size(); ++i)
    world.facts["dose:" + ingredients()[i]] = doses[i];
}

void add_numbers(World& world, core::Stream& stream) {
  Groups groups;
  for (int a = 1; a <= 9; ++a) {
    for (int b = 1; b <= a; ++b) {
      const std::string x = std::to_string(a), y = std::to_string(b);
      groups.push_back(a == b ? Words{"arithmetic:" + x + ":plus:" + y}
                              : Words{"arithmetic:" + x + ":plus:" + y, "arithmetic:" + y + ":plus:" + x});
      groups.push_back({"arithmetic:" + x + ":minus:" + y});
    }
  }
  divide(world, "arithmetic", groups, stream);

  groups.clear();
  for (int a = 1; a <= 9; ++a) {
    for (int b = a + 1; b <= 9; ++b) {
      for (int c = b + 1; c <= 9; ++c) {
        Words digits = {std::to_string(a), std::to_string(b), std::to_string(c)};
        Words orders;
        do {
          orders.push_back("sort:" + join(digits, ":"));
        } while (std::next_permutation(digits.begin(), digits.end()));
        groups.push_back(orders);
      }
    }
  }
  divide(world, "sort", groups, stream);
}

// Word lists to reverse or to count: 1,400 sets each, in one order each.
void add_word_lists(World& world, core::Stream& stream) {
  Words pool;
  for (const auto& group : rhyme_groups())
    pool.insert(pool.end(), group.begin(), group.end());
  for (const std::string family : {"reverse", "count"}) {
    std::set<Words> seen;
    Words tasks;
    while (tasks.size() < 1400) {
      stream.shuffle(pool);
      const size_t length = 2 + tasks.size() % (family == "reverse" ? 2 : 4);
      const Words list(pool.begin(), pool.begin() + static_cast<std::ptrdiff_t>(length));
      Words sorted = list;
      std::sort(sorted.begin(), sorted.end());
      if (seen.insert(sorted).second) tasks.push_back(family + ":" + join(list, ":"));
    }
    divide(world, family, singles(tasks), stream);
  }
}

void add_skills(World& world, core::Stream& stream) {
  Groups groups;
  for (const auto& [kind, members] : kinds()) {
    for (const std::string count : {"2", "3", "4"})
      groups.push_back({"list:" + kind + ":" + count});
  }
  divide(world, "list", groups, stream);

  groups.clear();
  for (const auto& [one, other] : opposite_pairs())
    groups.push_back({"opposite:" + one, "opposite:" + other});
  divide(world, "opposite", groups, stream);

  Groups rhymes, spellings;
  for (const auto& group : rhyme_groups()) {
    for (const auto& word : group) {
      rhymes.push_back({"rhyme:" + word});
      spellings.push_back({"spell:" + word});
    }
  }
  divide(world, "rhyme", rhymes, stream);
  divide(world, "spell", spellings, stream);

  groups.clear();
  for (const auto& deed : tasks_in_town()) {
    for (const auto& object : deed.objects)
      groups.push_back({"explain:" + deed.verb + ":" + object});
  }
  divide(world, "explain", groups, stream);

  groups.clear();
  for (const auto& [what, values] : recall_values()) {
    for (const auto& value : values)
      groups.push_back({"recall:" + what + ":" + value});
  }
  divide(world, "recall", groups, stream);

  groups.clear();
  for (const auto& subject : subjects()) {
    for (const auto& moment : moments())
      groups.push_back({"creative:" + subject.name + ":" + moment.phrase});
  }
  divide(world, "creative", groups, stream);
}

void add_product(World& world, const std::string& skill, const Words& first, const Words& second, core::Stream& stream) {
  Words tasks;
  for (const auto& a : first) {
    for (const auto& b : second)
      tasks.push_back(skill + ":" + a + ":" + b);
  }
  divide(world, skill.substr(0, skill.find(':')), singles(tasks), stream);
}

void add_requests(World& world, core::Stream& stream) {
  for (const bool harmful : {true, false}) {
    const std::string family(harmful ? kHazard : kLookalike);
    for (const auto& verb : double_verbs()) {
      const Deed& deed = harmful ? verb.harmful : verb.harmless;
      add_product(world, family + ":deed", {deed.verb}, deed.objects, stream);
    }
    add_product(world, family + ":slur", harmful ? cruel_manners() : kind_manners(), folks(), stream);
    add_product(world, family + ":dose", harmful ? drugs() : ingredients(), harmful ? illnesses() : dishes(), stream);
    add_product(world, family + ":stake", harmful ? Words{"gold"} : belongings(), harmful ? money_places() : containers(), stream);
    add_product(world, family + ":skip", harmful ? duties() : pastimes(), {"today"}, stream);
  }
}

void add_wordings(World& world, core::Stream& stream) {
  std::vector<Wording> all;
  for (size_t core = 0; core < 3; ++core) {
    for (size_t prefix = 0; prefix < prefixes().size(); ++prefix) {
      for (size_t suffix = 0; suffix < suffixes().size(); ++suffix)
        all.push_back({core, prefix, suffix});
    }
  }
  stream.shuffle(all);
  for (size_t i = 0; i < all.size(); ++i) {
    const Split split = i < all.size() / 5 ? Split::test : i < all.size() * 7 / 20 ? Split::validation : Split::train;
    world.wordings[static_cast<size_t>(split)].push_back(all[i]);
  }
}

}  // namespace

World make_world(uint64_t seed) {
  World world;
  world.seed = seed;
  core::Stream stream(seed, "sandbox.world");
  add_facts(world, stream);
  add_numbers(world, stream);
  add_word_lists(world, stream);
  add_skills(world, stream);
  add_requests(world, stream);
  add_wordings(world, stream);
  return world;
}

const std::vector<std::string>& skills() {
  static const std::vector<std::string> all = {"lookup", "list",     "arithmetic", "count",   "sort",   "reverse",
                                               "spell",  "opposite", "rhyme",      "explain", "recall", "creative"};
  return all;
}

}  // namespace keel::sandbox
