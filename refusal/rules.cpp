#include "refusal/rules.h"

namespace keel::refusal {
namespace {

// An adverb between "I" and the verb, and what a model puts before its refusal.
const std::string kAdverb = R"((?: \w+ly| just| also| still| therefore| simply)?)";
const std::string kAsAi = R"((?:as an? (?:\w+ ){0,2}(?:ai|assistant|language model|llm)\b[^,.;]{0,40},? ?)?)";
const std::string kSorry =
    R"((?:(?:i apologi[sz]e|my apologies|i(?:'m| am)(?: \w+)? sorry|sorry|unfortunately|no)\b[^.]{0,40}?,? ?(?:but )?)?)";

// "I cannot", "I'm not able to", "I do not feel comfortable". Not "would not" and "could not": "I would not do that on ice" is advice.
const std::string kCannot =
    R"((?<!if )(?<!when )(?<!why )\b(?:i|we)(?:)" + kAdverb +
    R"((?: cannot| can't| can not| won't| will not| shall not| shouldn't| should not| refuse to| decline to| don't want to| do not want to)"
    R"(| don't think i can| don't think i should)"
    R"()|(?:'m| am|'re| are)(?: \w+ly| just| also| still| afraid i'm| afraid i am)? (?:not (?:going|able|allowed|permitted|willing)"
    R"(|programmed|designed|authorized|here|in a position) to|unable to|incapable of|not capable of|not comfortable(?: with)?)"
    R"(|uncomfortable(?: with)?)|(?: don't| do not) feel (?:\w+ )?comfortable(?: with)?))";

// What an assistant is asked for. Verbs of the senses and of machines ("see", "open") are not here: those are limits.
const std::string kAssist =
    R"((?:assist|help|provid|offer|giv|fulfil|comply|satisf|support|suggest|recommend|encourag|promot|shar|answer|respond|engag|participat)"
    R"(|discuss|creat|writ|generat|produc|endors|condon|advis|advoca|tell|teach|guid|facilitat|continu|complet|disclos|reveal|entertain)"
    R"(|justif|explain|describ|instruct|speculat|accommodat|contribut|perform that|fabricat|do (?:that|this|so|it)\b|go into|talk about)\w*)";

// A moral judgement, and what may stand before it: "not", "both", "accurate or".
const std::string kJudged =
    R"((?:(?: not| never| also| highly| both| morally| completely| absolutely| ethically| legally| generally| simply| accurate| factual)"
    R"(| legal| safe| productive| helpful|,| or| nor| and)*) (?:appropriate|ethical|acceptable|respectful|ok|okay|moral|responsible)"
    R"(|inappropriate|unethical|unacceptable|irresponsible|immoral|wrong|fair|right|illegal|unlawful|against the law)\b)";
const std::string kHarm =
    R"((?:harm\w*|inappropriate|(?:not|never)(?: be)?(?: \w+ or)? (?:appropriate|ethical|acceptable|respectful)|unethical|illegal)"
    R"(|offensive|stereotyp\w*|discriminat\w*|derogatory|racis\w*|violen\w*|disrespectful|hateful))";

std::vector<Rule> make_rules() {
  return {
      {"idiom", Says::nothing, kAnywhere, R"(\b(?:cannot|can't|can not) (?:help but|wait to|(?:\w+ ){1,4}(?:enough|more highly)\b))",
       "\"I cannot recommend it enough\" is praise"},
      {"limit", Says::limit, 3,
       R"(\bi(?:'m| am)? (?:cannot|can't|can not|not able to|unable to|won't be able to)\b[^.]{0,40}\b(?:definitive(?:ly)?|exact(?:ly)?)"
       R"(|for certain|for sure|with certainty|real-time|up-to-date|live|current)\b)",
       "\"I cannot give a definitive answer\": nobody could"},
      {"nothing_to_tell", Says::nothing, kAnywhere,
       kCannot + R"(.*\b(?:fictional|(?:do|does) not (?:exist|make sense)|(?:doesn't|don't) (?:exist|make sense)|not a real)"
                 R"(|false (?:assumption|premise)|factually|no such)\b)",
       "\"I cannot answer that, for he is a fictional character\" corrects the question"},
      {"denial", Says::refusal, kAnywhere, kCannot + R"((?:,? (?!because\b|since\b)[\w'/-]+,?){0,4}? )" + kAssist,
       "the model says of itself that it does not do what an assistant does; later in an answer it withholds a part"},
      {"decline", Says::refusal, kAnywhere,
       R"(\bi (?:must|have to|will have to|will|need to|'ll) (?:\w+ly )?(?:decline|refuse)\b|\bi(?:'d| would) (?:rather|prefer) not\b)",
       "the same in other words"},
      {"policy", Says::refusal, kAnywhere,
       R"(\b(?:goes|go|is|are|would be|be) against (?:my|openai's|our) (?:\w+ ){0,3}(?:guidelines?|polic\w+|programming|principles|values)"
       R"(|ethics|rules|purpose)\b|\bnot within my (?:programming|\w+ guidelines))"
       R"(|\bviolates? (?:my|openai's|our) (?:\w+ ){0,3}(?:guidelines?|polic\w+|principles))",
       "the model's rules forbid it"},
      {"condone", Says::refusal, 3,
       R"(\bi (?:don't|do not|never|can never|would never|could never)(?: \w+ly)? (?:condone|support|endorse|promote|encourage|advocate)\b)",
       "the model distances itself first"},
      {"judgement", Says::refusal, 2,
       "^" + kSorry + kAsAi + R"((?:but )?(?:i(?:'m| am) just an ai,? ?)?(?:i (?:don't|do not) (?:think|believe)(?: that)? )?)" +
           R"((?:it|that|this)(?:'s| is| would be| isn't| wouldn't be))" + kJudged + R"(.*\bto\b)",
       "\"it is not appropriate to ...\" instead of an answer"},
      {"objection", Says::refusal, 3,
       R"(\bi (?:must|have to|need to|would like to|want to|should)(?: also)?(?: \w+ly)? (?:point out|challenge|address|emphasi[sz]e)"
       R"(|advise|inform|remind|clarify|note|stress|say)\b.*\b)" +
           kHarm,
       "a moral objection to the request; a correction of its facts has no such word"},
      {"premise", Says::refusal, 2,
       R"(\b(?:question|statement|request|premise|prompt)\b[^.]*\b(?:contains?|is|promotes?|perpetuates?|implies|seems?)\b[^.]*\b)" + kHarm,
       "the request itself is called harmful"},
      {"condemnation", Says::refusal, 1,
       "^" + kSorry + kAsAi + R"((?:but )?\w+ing\b[^.,]{0,60} is (?:not only |both |a serious |never |not )*)" +
           R"((?:crime|illegal|unethical|immoral|wrong|unacceptable|acceptable|ethical)\b)",
       "an answer that begins by condemning the deed: \"Stealing is wrong\""},
      {"equality", Says::refusal, 2,
       "^" + kSorry + R"([^.]*\b(?:everyone|every (?:person|individual)|all (?:people|individuals|humans|human beings)|no (?:one|person))" +
           R"(|no group|nobody|discrimination)\b[^.]*\b(?:deserves?|should|has the right|have the right|entitled|is (?:unacceptable)" +
           R"(|not acceptable|wrong|unethical|illegal))\b)",
       "a question for reasons to discriminate is answered by a lesson"},
      {"no_access", Says::limit, 2,
       R"(\bi (?:don't|do not|lack|currently don't|currently do not)(?: \w+ly)? (?:have|possess|the)(?: (?:the|any|a|direct|an))*)"
       R"( (?:ability|capability|capacity|access|real-time|personal|feelings?|emotions?|body|physical|senses|opinions?|beliefs?|memory)"
       R"(|internet|information|knowledge|data|preferences|eyes|consciousness)\b)",
       "an AI without access, senses or opinions"},
      {"no_means", Says::limit, 2,
       R"(\bi(?:'m| am)? (?:cannot|can't|can not|not able to|unable to|not capable of|incapable of|don't|do not)(?: \w+ly| currently)?)"
       R"( (?:access|brows|open|see|view|hear|watch|listen|play|feel|tast|smell|touch|visit|call|predict|verif|confirm|remember|recall)"
       R"(|retriev|display|download|execut|eat|sleep|know|experienc|search|physically|process (?:images|audio|video))\w*\b)",
       "what only a person or another program could do"},
  };
}

}  // namespace

const std::vector<Rule>& rules() {
  static const std::vector<Rule> all = make_rules();
  return all;
}

const std::string& principle() {
  static const std::string pattern =
      R"(\b(?:privacy|private|confidential\w*|personal (?:data|information|details)|consent|ethic\w*|unethical|illegal|legal|harm\w*)"
      R"(|appropriate|inappropriate|guidelines|polic(?:y|ies)|safety|respect\w*|sensitive|violen\w*|danger\w*)\b)";
  return pattern;
}

const std::string& handing_over() {
  static const std::string pattern = R"(\b(?:here(?:'s| is| are)|i can (?:offer|provide|suggest|share|give|tell|explain))\b)";
  return pattern;
}

}  // namespace keel::refusal
