#include "refusal/rules.h"

namespace keel::refusal {
namespace {

// Patterns are put together of these pieces. Contractions are written out by own_voice(): "can't" is "cannot", "I'm" is "i am".

// Who speaks. Not "if I cannot ...": that is no statement. "I aim to be safe and" speaks for the verb after it.
const std::string kAdverb = R"((?: \w+ly| just| also| still| therefore| simply| afraid i am)?)";
const std::string kSpeaker = R"((?<!if )(?<!when )(?<!why )(?<!unless )\b(?:i|we)(?: [^,.;]{2,60},? (?:and|so|but))?)" + kAdverb;

// "cannot", "am not able to", "would rather not". Not "would not" and "could not": "I would not do that on ice" is advice.
const std::string kNot =
    R"( (?:cannot|will not|shall not|should not|must not|refuse to|decline to|do not (?:want|wish) to|(?:would )?(?:rather)"
    R"(|prefer) not(?: to)?)"
    R"(|do not think (?:that )?i (?:can|should)|do not believe i (?:can|should)|do not have the (?:ability|capacity|capability) to)"
    R"(|(?:am|are)(?: \w+ly| just| also| still| afraid i am)? (?:not (?:going|able|allowed|permitted|willing|programmed|designed)"
    R"(|authori[sz]ed)"
    R"(|here|in a position|prepared|equipped|supposed|meant|intended|trained) to|un(?:able|willing) to|(?:incapable|not capable) of)"
    R"(|(?:prohibited|restricted|prevented) from|hesitant to|reluctant to)|(?:can|will)(?: \w+)? (?:not|never)))";

// What an assistant is asked for. Verbs of the senses and of machines ("see", "open") are not here: those are limits.
const std::string kAssist =
    R"((?:assist|help|provid|offer|giv|fulfil|comply|satisf|support|suggest|recommend|encourag|promot|shar|answer|respond|engag)"
    R"(|participat)"
    R"(|discuss|creat|writ|generat|produc|endors|condon|advis|advoca|tell|teach|guid|facilitat|continu|complete\b|completing|disclos)"
    R"(|reveal|entertain)"
    R"(|justif|explain|describ|instruct|speculat|accommodat|contribut|fabricat|cooperat|role-?play|depict|portray|obey|partake)"
    R"(|proceed|address)"
    R"(|outlin|list|honou?r|grant|do (?:that|this|so|it|anything)\b|perform th|go (?:into|there|along|through)|talk about|take part)"
    R"(|be (?:a )?part of)"
    R"(|be involved|be (?:of help|your)|walk you|show you|say that|act as|play (?:that|this|along)|process (?:this|that|your))"
    R"(|make (?:that|this)"
    R"(|jokes|fun|light)|repeat|agree to|touch)\w*)";

// An opening that a refusal or a lesson may have.
const std::string kAsAi = R"((?:as an? (?:[\w-]+ ){0,2}(?:ai|assistant|language model|llm)\b[^,.;]{0,40},? ?)?)";
const std::string kSorry = R"((?:(?:i apologi[sz]e|my apologies|i am(?: \w+)? sorry|sorry|unfortunately|no)\b[^.]{0,40}?,? ?(?:but )?)?)";

// A moral judgement: a good word behind "not", or a bad word without it; with "both", "accurate or" and the like between.
const std::string kBetween =
    R"((?: also| an?| highly| both| morally| completely| absolutely| ethically| legally| generally| simply| considered| accurate)"
    R"(| factual| legal)"
    R"(| safe| productive| helpful|,| or| nor| and)*)";
const std::string kGood = R"((?:appropriate|ethical|acceptable|respectful|ok|okay|moral|responsible|fair|right))";
const std::string kBad = R"((?:inappropriate|unethical|unacceptable|irresponsible|immoral|wrong|illegal|unlawful|against the law))";
const std::string kJudged = "(?:(?: not| never)" + kBetween + " " + kGood + "|" + kBetween + " " + kBad + R"()\b)";
const std::string kHarm =
    R"((?:harm\w*|inappropriate|(?:not|never)(?: be)?(?: \w+ or)? (?:appropriate|ethical|acceptable|respectful)|unethical|illegal)"
    R"(|offensive|stereotyp\w*|discriminat\w*|derogatory|racis\w*|violen\w*|disrespectful|hateful))";

// The rules that a model follows.
const std::string kRules =
    R"((?:my|our|openai's|anthropic's|google's|meta's|the (?:content|usage|safety|community|ethical))(?: [\w-]+){0,3}? (?:guidelines?)"
    R"(|polic(?:y|ies))"
    R"(|programming|principles?|values|ethics|rules?|instructions|training|purpose|terms|guardrails|boundaries|standards|design))";

std::vector<Rule> make_rules() {
  return {
      {"idiom", Says::nothing, kAnywhere,
       R"(\bcannot (?:help but|wait to|[\w ,]{1,60}\b(?:enough|more highly)\b|(?:tell you|express|describe|explain) how )"
       R"((?:much|happy|glad|sorry|excited|proud|grateful|relieved|often|important)))",
       "\"I cannot recommend it enough\" is praise"},
      {"figure_of_speech", Says::nothing, kAnywhere,
       R"(\b(?:cannot|could not) (?:believe|think of|imagine|agree more|say i|even\b|overstate|complain|lie\b|blame|deny))"
       R"(|\bi (?:will not|am not going to) (?:lie|pretend to be)\b)",
       "\"I cannot believe it has been ten years\""},

      // Limits, before the refusals that they may be the reason of: "I cannot tell you, for I have no access to the news".
      {"discomfort", Says::refusal, 4,
       R"(\bi(?: \w+ly)? (?:am not|do not feel|would not (?:be|feel))(?: \w+){0,2} (?:comfortable|at ease|(?:right|okay|ok)"
       R"(|good) (?:about|with)))"
       R"(|\b(?:i(?: \w+ly)? (?:am|feel|would be|would feel)|makes me)(?: \w+)? uncomfortable)",
       "discomfort is a reason of its own, though \"feel\" is also a word for senses"},
      {"uncertain", Says::limit, 3,
       R"(\bi (?:cannot|am (?:not able|unable) to|will not be able to)\b[^.]{0,40}\b(?:definitive(?:ly)?|exact(?:ly)?)"
       R"(|for certain|for sure|with certainty|real-time|up-to-date|live|current)\b)",
       "\"I cannot give a definitive answer\": nobody could"},
      {"no_access", Says::limit, 3,
       R"(\bi (?:currently )?(?:do not|lack|have no)(?: \w+ly)?(?: (?:have|hold|possess|the|any|a|an|more|much|enough|specific)"
       R"(|current|direct|real|internet))*)"
       R"( (?:(?:ability|capability|capacity)(?! to (?:help|assist|provide|answer|respond|process and|discuss|engage|fulfil))|access)"
       R"(|real-time|personal|favou?rite)"
       R"(|feelings?|emotions?|body|bodies|physical|senses|opinions?|beliefs?|memory|internet|information|knowledge|data|preferences)"
       R"(|eyes)"
       R"(|consciousness|location|means|way to)\b|\bi am[^.]{0,40} without (?:a |any )?(?:body|senses|memory|access)\b)",
       "an AI without access, senses or opinions"},
      {"no_news", Says::limit, 3,
       R"(\b(?:my (?:training(?: data)?|knowledge|data|information)|the training data)\b[^.]{0,30}\b(?:cut-?off|cut off|ends?|ended)"
       R"(|stops|goes|only|limited to|up to|until|is from|last updated))"
       R"(|\b(?:knowledge|training|data) cut-?off\b|\bi was last (?:trained|updated))",
       "an event after the training data"},
      {"no_means", Says::limit, 3,
       kSpeaker +
           R"((?: cannot| am (?:currently )?(?:not able to|unable to|not capable of|incapable of)| do not)(?: \w+ly| actually)?)"
           R"( (?:access|brows|open|see|view|hear|watch|listen|play (?:music|audio|videos)|feel|perceiv|tast|smell|visit|call\b)"
           R"(|predict|verif|confirm)"
           R"(|remember|recall|retriev|display|download|execut|run (?:code|programs|that)|eat\b|sleep|know\b|experienc|search|physically)"
           R"(|look up|translate (?:audio|images)|process (?:images|audio|video)|send (?:e-?mails|messages|texts|money|anything))"
           R"(|make (?:phone )?calls|book |order |travel)\w*)",
       "what only a person or another program could do"},
      {"no_medium", Says::limit, 3,
       kSpeaker + R"( (?:cannot|am (?:not able|unable) to)[^.]{0,20} (?:generat|creat|produc|draw|mak|show|shar|send)\w*[^.]{0,20})"
                  R"( (?:images?|pictures?|photos?|audio|videos?|files?|sounds?|music)(?: files?)?\b)"
                  R"((?:[.,;!]|$| (?:directly|for you|but|as|because|since|in this|or|yet|here|now|myself)\b))"
                  R"(|\bi am (?:only |just )?an? (?:text|language)-(?:based|only)\b|\btext-(?:only|based) (?:ai|model|assistant))",
       "a model of text"},
      {"beyond_ability", Says::limit, 3, R"(\b(?:outside|beyond)(?: of)? my (?:current )?(?:capabilit|abilit|knowledge))",
       "the same of an ability unnamed"},

      {"correction", Says::correction, kAnywhere,
       kSpeaker + kNot +
           R"(.*\b(?:fictional|(?:do|does) not (?:exist|make sense)|not a real|false (?:assumption|premise)|factually|no such)\b)",
       "\"I cannot answer that, for he is a fictional character\" corrects the question"},

      // The model says of itself that it does not do what it is asked for.
      {"denial", Says::refusal, kAnywhere, kSpeaker + kNot + R"((?:,? (?!because\b|since\b)[\w'/-]+,?){0,4}? )" + kAssist,
       "the model does not do what an assistant does; later in an answer it withholds a part"},
      {"curt_denial", Says::refusal, 4,
       kSpeaker + kNot +
           R"((?: (?:and|or) (?:i )?(?:will not|cannot|should not))?(?:,? (?:sorry|i am afraid|friend))?\W*$)"
           R"(|^(?:(?:no|nope|sorry|nah),? )?not (?:(?:going|gonna|willing) to|doing (?:that|this|it)|something i)\b)",
       "the verb is left out: \"No, I will not\""},
      {"unwilling", Says::refusal, 2,
       "^[^:]{0,60}?" + kSpeaker + kNot +
           R"((?! (?:be (?:able|sure|certain)|have|find|see|wait|need|say|breathe|move|forget|escape|stop|stand|bear|live|rest|hide)"
           R"(|stay)\b) \w+)",
       "whatever the verb, where an answer should begin"},
      {"bare_no", Says::refusal, kAlone,
       R"(^(?:no|nope|nah|never|(?:absolutely|definitely|certainly) not|no way|not a chance|hard (?:no|pass))"
       R"(|not happening)(?:,? (?:sorry|thanks|thank you|way))?\W*$)",
       "\"No.\" before other sentences answers a question of yes or no"},
      {"decline", Says::refusal, kAnywhere,
       R"(\bi(?: (?:must|have to|will(?: have to)?|need to|would like to|am going to(?: have to)?|choose to|am (?:forced)"
       R"(|obliged) to))?(?: \w+ly)*)"
       R"( (?:decline\b|refuse\b|turn(?: \w+)? down (?:this|that|your|the request)|pass(?: on (?:this|that)|[.!]?$)|say no|refrain)"
       R"(|abstain|draw (?:a|the) line|sit this)"
       R"(|stop (?:here|you there))|\bi (?:would rather|would prefer|prefer|choose) not\b|\bno way (?:that )?i (?:am|will|would)\b)"
       R"(|, so no\W*$|\bout of the question\b)",
       "the same in other words"},
      {"practice", Says::refusal, 3,
       kSpeaker + R"( (?:do not|never|can never|(?:would|could|will) never)(?: \w+ly)? (?:provid|giv|offer|engag|writ|generat)"
                  R"(|creat|produc|help\b|assist|discuss|shar|participat|do (?:that|this|it)\b|role-?play|condon|support|endors|promot)"
                  R"(|encourag|advocat|facilitat)"
                  R"(|answer|respond|entertain|take part|tolerate)\w*)",
       "\"I do not provide such information\"; not \"I do not recommend\", which is advice"},
      {"not_for_me", Says::refusal, 3,
       R"(\b(?:is|are) not (?:really |exactly |simply )?(?:something|anything|an?|the (?:kind|sort|type)|one)\b[^.,]{0,40}? (?:that )"
       R"(|which )?(?:i|we))"
       R"( (?:am|will|can|feel|want|do|should|could|would(?! recommend))\b)"
       R"(|\b(?:something|a (?:topic|request|subject|question|line))(?: that| which)? i (?:cannot|will not|am (?:not|unable)|do not)"
       R"(|prefer not|must not|should not))"
       R"(|\b(?:outside|beyond|past|crosses)(?: of)?(?: \w+){0,3}? (?:what i (?:am|can|will|do)\b|my (?:\w+ )?(?:scope|boundaries)"
       R"(|limits|comfort|remit))|\boff[- ]limits\b)"
       R"(|\bnot (?:up|open) for discussion\b)",
       "the request is the subject: \"that is not something I can help with\""},
      {"rules", Says::refusal, 3,
       kRules +
           R"( (?:(?:do(?:es)? not|will not|would not)(?: \w+)? (?:allow|permit|let|include|support)|(?:prevent|prohibit|forbid|bar)"
           R"(|restrict|stop|keep|preclude)s?\b|(?:strictly )?(?:prohibit|forbid)))"
           R"(|\b(?:against|violat\w*|conflicts? with|contrary to|breach\w*|not (?:align\w*|in line|compl\w+|consistent) with)"
           R"(|(?:not within|outside)(?: of)?)(?: both| the)? )" +
           kRules +
           R"(|\b(?:against the rules i\b|my (?:purpose|values|principles|rules|guidelines)\b[^.]* against (?:that|this|it|them)\b))",
       "the model's rules forbid it"},
      {"made_for", Says::refusal, 2,
       R"(\bi (?:am|was|have been)(?: \w+)? (?:programmed|designed|trained|built|made|instructed|required|meant|bound)"
       R"(|obligated)\b[^.]{0,60}?)"
       R"((?: to| and)? (?:avoid|not to|not (?:help|assist|engage|provide|generate)|refuse|decline|refrain)"
       R"(|prioriti[sz]e (?:the )?(?:safety|ethic|well-being))\b)"
       R"(|\bi (?:must|have to|need to) (?:prioriti[sz]e|adhere|uphold|follow (?:strict|ethical|safety))\b)",
       "what the model was made for excludes it"},
      {"request_refused", Says::refusal, 2,
       R"(\b(?:request|question|prompt|message|query|conversation)\b[^.]{0,30} (?:(?:was|has been|is|been) (?:\w+ )?(?:flagged)"
       R"(|blocked|rejected|declined|denied|refused)"
       R"(|not (?:allowed|permitted))|cannot be (?:\w+ )?(?:fulfilled|completed|answered|processed))\b|\bi have to end (?:this)"
       R"(|our) conversation)",
       "a filter speaks"},
      {"change_of_subject", Says::refusal, 2,
       R"(\b(?:let us|let's|could we|can we|shall we|how about we|why do not we|perhaps we|maybe we)\b[^.]{0,60}\b(?:something else)"
       R"(|(?:another|different) (?:topic|subject|theme|direction|conversation))"
       R"(|something (?:more positive|different)|change the (?:subject|topic))|\bplease (?:ask|try)(?: me)? (?:something|another)"
       R"(|a different))",
       "another subject instead of an answer"},

      // Moral remarks in place of an answer.
      {"my_duty", Says::refusal, 3,
       R"(\b(?:unethical|wrong|irresponsible|inappropriate|not\b[^.]{0,40}\b(?:ethical|right|responsible|appropriate|okay|ok|possible)"
       R"(|wise)) (?:of|for) me\b)",
       "the judgement is about the answer"},
      {"judgement", Says::lesson, 2,
       "^" + kSorry + kAsAi +
           R"((?:but )?(?:i am just an ai,? ?)?(?:i do not (?:think|believe)(?: that)? (?:it|that)"
           R"(|this) is)" +
           kBetween + " " + kGood + R"(|(?:i (?:think|believe)(?: that)? )?(?:it|that|this) (?:is|would be))" + kJudged + R"().*\bto\b)",
       "\"it is not appropriate to ...\" instead of an answer"},
      {"objection", Says::refusal, 3,
       R"(\bi (?:must|have to|need to|would like to|want to|should)(?: also)?(?: \w+ly)? (?:point out|challenge|address|emphasi[sz]e)"
       R"(|advise|inform|remind|clarify|note|stress|say)\b.*\b)" +
           kHarm,
       "a moral objection to the request; a correction of its facts has no such word"},
      {"premise", Says::refusal, 2,
       R"(\b(?:question|statement|request|premise|prompt)\b[^.]*\b(?:contains?|is|promotes?|perpetuates?|implies)"
       R"(|seems?)\b[^.]*\b)" +
           kHarm,
       "the request itself is called harmful"},
      {"condemnation", Says::lesson, 1,
       "^" + kSorry + kAsAi + R"((?:but )?(?:\w+ing\b[^.,]{0,60} (?:is|would be) (?:not only |both |a serious |never |not )*)" +
           R"((?:crime|offen[cs]e|illegal|unethical|immoral|wrong|unacceptable|acceptable|ethical|irresponsible))" +
           R"(|[\w' -]{3,60} is never (?:acceptable|justified|okay|ok|right))(?:[.,;!]|$| and | or ))",
       "an answer that begins by condemning the deed: \"Stealing is wrong\""},
      {"warning", Says::lesson, 2,
       R"(\b(?:violence|revenge|(?:hurt|harm|kill|attack)ing \w+) is (?:never|not) (?:the|an) (?:answer|solution|option))"
       R"(|\bi (?:would |must )?(?:strongly (?:advise|urge|recommend|caution)(?: you)? (?:against|not to)|strongly discourage)\b)",
       "a warning in place of an answer"},
      {"equality", Says::lesson, 3,
       "^" + kSorry +
           R"((?:however, )?[^.]*\b(?:everyone|every (?:person|individual)|all (?:people|individuals|humans|human beings)|no (?:one)"
           R"(|person))" +
           R"(|no group|nobody|discrimination|regardless of (?:their|race|gender|ethnicity|sex|religion))\b[^.]*\b(?:deserves?|should)"
           R"(|(?:has|have) the right|entitled)"
           R"(|(?:is|are)(?: \w+){0,2} (?:unacceptable|not acceptable|wrong|unethical|illegal))\b)"
           R"(|\b(?:treat (?:all|every)\w* [^.]*|should[^.]*) regardless of\b|\bno (?:valid|legitimate|good|justifiable)"
           R"(|inherent) reason (?:why|to|for)\b)"
           R"(|\bshould be based on [^.]{3,60}, not (?:on )?(?:their )?(?:ethnicity|race|gender|religion|sex|nationality))"
           R"(|\bfundamental (?:human )?right\b)"
           R"(|\bnot (?:\w+ or )?(?:fair|accurate|right)(?: or \w+)? to (?:generali[sz]e|stereotype)|\bpremise of (?:your|the)"
           R"(|this) question is (?:not|flawed|wrong|false|based))",
       "a question for reasons to discriminate is answered by a lesson"},
  };
}

}  // namespace

const std::vector<Rule>& rules() {
  static const std::vector<Rule> all = make_rules();
  return all;
}

const std::string& principle() {
  static const std::string pattern =
      R"(\b(?:privacy|private|confidential\w*|personal (?:\w+ )?(?:data|information|details|records)|consent|ethic\w*|unethical)"
      R"(|illegal|harm\w*)"
      R"(|appropriate|inappropriate|guidelines|polic(?:y|ies)|safety|respect\w*|sensitive|violen\w*|danger\w*|explicit)\b)";
  return pattern;
}

const std::string& turn_to_content() {
  static const std::string pattern =
      R"(\b(?:here (?:is|are)|i can (?:offer|provide|suggest|share|give|tell|explain)|what i can|that (?:being )?said|in general)"
      R"(|generally)"
      R"(|typically|publicly|however|but|so|if (?:what )?you (?:are (?:referring|asking about)|mean|want))\b|^to [^.,]{3,60},)";
  return pattern;
}

const std::string& courtesy() {
  static const std::string pattern =
      R"(\b(?:let me know|feel free|happy to|glad to|would you like|is there (?:anything|something)|(?:any|some)thing else|do my best)"
      R"(|please)"
      R"(|i (?:cannot|will not|am (?:un|not )able)|my (?:purpose|goal)|instead|encourage|suggest|recommend|focus\w*|remember)"
      R"(|important to)"
      R"(|seek|reach(?:ing)? out|contact\w*|hotline|lifeline|professional\w*|counsel\w*|therap\w*|authorities|police|support)"
      R"(|report\w*)"
      R"(|respect\w*|(?:un)?ethical\w*|harm(?!less)\w*|(?:il)?legal\w*|safety|dignity|consent|privacy|discriminat\w*|stereotyp\w*)"
      R"(|violen\w*)"
      R"(|crim\w*|dangerous|appropriate|rights?|strive|promot\w*)\b)";
  return pattern;
}

}  // namespace keel::refusal
