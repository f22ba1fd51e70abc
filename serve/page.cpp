#include "serve/page.h"

#include <fmt/format.h>

namespace keel::serve {
namespace {

// Every text of a person or a model is put into the page as text, never as HTML.
constexpr const char* kPage = R"html(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>keel: reward models</title>
<style>
body{font:15px/1.45 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#1b2733;background:#fff}
h1{font-size:1.3em;margin:0 0 .2em} p{margin:.3em 0 1em;color:#52606d}
textarea,select,input{font:inherit;width:100%;box-sizing:border-box;border:1px solid #9fb3c8;border-radius:4px;padding:.5em;background:#fff;color:inherit}
label{display:block;font-weight:600;margin:.8em 0 .2em} .row{display:flex;gap:1.2em;flex-wrap:wrap} .row>div{flex:1;min-width:300px}
button{font:inherit;padding:.5em 1.2em;border:0;border-radius:4px;background:#0b5394;color:#fff;cursor:pointer;margin:1em .6em 0 0}
button.plain{background:#e4ebf2;color:#1b2733} :focus-visible{outline:3px solid #f0a202;outline-offset:1px}
table{border-collapse:collapse;margin:.8em 0;width:100%} td,th{text-align:left;padding:.25em .6em .25em 0;border-bottom:1px solid #e4ebf2;font-variant-numeric:tabular-nums}
.check{display:flex;align-items:center;gap:.5em} .check input{width:auto} .check label{margin:0;font-weight:400}
.tokens{line-height:2;word-break:break-word} .tokens span{background:#eef2f6;border-radius:3px;padding:1px 3px;margin:1px;white-space:pre-wrap;display:inline-block}
.tokens span.answer{background:#cfe4f7} .tokens small{color:#627d98;margin-right:2px} .better{color:#0b6b2d;font-weight:600} #error{color:#a61b1b;font-weight:600}
</style></head><body>
<h1>Reward models</h1>
<p>A score is the raw output of a reward model, its probability the sigmoid of it. Ctrl+Enter scores.</p>
<form id="form">
<div class="row"><div><label for="model">Model</label><select id="model"></select></div>
<div><label for="key">API key, where the service asks for one</label><input id="key" type="password" autocomplete="off"></div></div>
<label for="system">System message (may stay empty)</label><textarea id="system" rows="1"></textarea>
<div id="turns"></div>
<label for="prompt">User</label><textarea id="prompt" rows="3" required></textarea>
<div class="check"><input id="hazard" type="checkbox"><label for="hazard">the prompt is about safety: the safety model decides</label></div>
<div class="row"><div><label for="a">Answer A</label><textarea id="a" rows="6" required></textarea></div>
<div><label for="b">Answer B (may stay empty)</label><textarea id="b" rows="6"></textarea></div></div>
<button type="submit">Score</button><button type="button" class="plain" id="more">Go on: make this exchange part of the dialogue</button>
</form>
<p id="error" role="alert"></p>
<div class="row" id="results" aria-live="polite"></div>
<script>
"use strict";
const $ = id => document.getElementById(id);
const earlier = [];
const cell = (row, text, tag = "td") => { const c = document.createElement(tag); c.textContent = text; row.appendChild(c); return c; };
const number = x => Number(x).toFixed(4);
const headers = () => { const h = {"Content-Type": "application/json"}; if ($("key").value) h["X-Api-Key"] = $("key").value; return h; };
for (const name of MODELS) { const o = document.createElement("option"); o.value = o.textContent = name; $("model").appendChild(o); }

function messages(answer) {
  const list = [];
  if ($("system").value.trim()) list.push({role: "system", content: $("system").value});
  list.push(...earlier, {role: "user", content: $("prompt").value}, {role: "assistant", content: answer});
  return list;
}
function line(table, name, text, good) {
  const row = table.insertRow(); cell(row, name, "th"); const value = cell(row, text); if (good) value.className = "better";
}
function show(title, result, better) {
  const box = document.createElement("div"), head = document.createElement("h2"), table = document.createElement("table");
  head.textContent = title; head.style.fontSize = "1.1em"; box.append(head, table);
  line(table, "score", number(result.score) + (better ? "  (better)" : ""), better);
  line(table, "probability", number(result.probability));
  for (const [name, one] of Object.entries(result.scores || {})) if (name !== "combined") line(table, name, number(one.score) + "  (" + number(one.probability) + ")");
  if (result.gate) line(table, "decided by", result.gate.decides + " (gate " + result.gate.threshold + ")");
  line(table, "tokens", result.tokens + (result.truncated ? ", shortened to fit" : ""));
  line(table, "answer", result.answer_tokens + " tokens");
  const tokens = document.createElement("div"); tokens.className = "tokens";
  (result.token_texts || []).forEach((text, i, all) => {
    const span = document.createElement("span"), place = document.createElement("small");
    place.textContent = i; span.append(place, text === "" ? "\u00b7" : text);
    if (i >= all.length - result.answer_tokens) span.className = "answer";
    tokens.appendChild(span);
  });
  box.appendChild(tokens); $("results").appendChild(box);
}
let asked = 0;
$("form").addEventListener("submit", async event => {
  event.preventDefault(); const own = ++asked; $("error").textContent = ""; $("results").replaceChildren();
  const answers = [$("a").value]; if ($("b").value.trim()) answers.push($("b").value);
  const inputs = answers.map(answer => ({messages: messages(answer), hazard: $("hazard").checked}));
  try {
    const reply = await fetch("v1/reward", {method: "POST", headers: headers(), body: JSON.stringify({model: $("model").value, inputs, return_tokens: true})});
    const body = await reply.json();
    if (!reply.ok) throw new Error(body.error.message || body.error);
    if (own !== asked) return;
    const best = Math.max(...body.data.map(one => one.score));
    body.data.forEach((one, i) => show("Answer " + "AB"[i], one, body.data.length > 1 && one.score === best));
  } catch (problem) { $("error").textContent = problem.message; }
});
$("more").addEventListener("click", () => {
  if (!$("prompt").value.trim() || !$("a").value.trim()) { $("error").textContent = "A prompt and answer A are needed first."; return; }
  earlier.push({role: "user", content: $("prompt").value}, {role: "assistant", content: $("a").value});
  const box = document.createElement("p"); box.textContent = "User: " + $("prompt").value + "\nAnswer: " + $("a").value; box.style.whiteSpace = "pre-wrap";
  $("turns").appendChild(box); $("prompt").value = $("a").value = $("b").value = ""; $("results").replaceChildren(); $("prompt").focus();
});
document.addEventListener("keydown", event => { if (event.ctrlKey && event.key === "Enter") $("form").requestSubmit(); });
</script></body></html>
)html";

}  // namespace

std::string page_html(const ModelSet& set) {
  nlohmann::json names = nlohmann::json::array({set.default_name()});
  for (const auto& model : set.rewards)
    if (model->name != set.default_name()) names.push_back(model->name);
  std::string page = kPage;
  const std::string place = "MODELS";
  page.replace(page.find(place), place.size(), names.dump());  // names are letters, digits, - and _
  return page;
}

std::vector<std::pair<std::string, std::string>> page_headers() {
  return {{"Content-Security-Policy",
           "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action "
           "'none'; "
           "frame-ancestors 'none'"},
          {"X-Content-Type-Options", "nosniff"},
          {"Referrer-Policy", "no-referrer"}};
}

}  // namespace keel::serve
