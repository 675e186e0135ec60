"""What the report's page looks like, and the few lines that filter it: two texts.

They are constants, so that the page can allow exactly these and nothing else (Content Security Policy by hash). The
page is whole without the script, which only shows the filter and hides what does not match. What is on the page is
`page`'s.
"""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --line: #dfe3e8; --soft: #eef1f4; --text: #1b2430; --dim: #5b6876;
  --link: #0b5cad; --good: #12714a; --good-bg: #e2f5ec; --bad: #b3261e; --bad-bg: #fdebe9; --warn: #855400;
  --warn-bg: #fdf2d9; --key: #4a3fb5; --key-bg: #ecebfb;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #10151b; --card: #182029; --line: #2c3743; --soft: #202a35; --text: #e3e9ef; --dim: #98a6b5;
    --link: #79b8ff; --good: #5fd4a0; --good-bg: #133226; --bad: #ff9a90; --bad-bg: #3f1f1d; --warn: #f0c265;
    --warn-bg: #38290d; --key: #b7b0ff; --key-bg: #29264b;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
.wrap { max-width: 1180px; margin: 0 auto; padding: 0 20px; }
header.top { background: var(--card); border-bottom: 1px solid var(--line); padding: 26px 0 22px; }
.eyebrow { margin: 0; color: var(--dim); font-size: 13px; letter-spacing: .02em; }
h1 { margin: 2px 0 6px; font-size: 27px; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 34px 0 12px; font-size: 18px; line-height: 1.3; }
h2 small { margin-left: 6px; color: var(--dim); font-size: 14px; font-weight: 400; }
p { margin: 0 0 8px; }
a { color: var(--link); }
code, .mono { font-family: var(--mono); font-size: .9em; overflow-wrap: anywhere; }
.about { color: var(--dim); font-size: 14px; margin: 0; }
.about > span { display: inline-block; margin-right: 18px; }
.verdict { margin: 22px 0 0; padding: 12px 16px; border-radius: 8px; font-weight: 600; }
.verdict p { margin: 4px 0 0; font-weight: 400; }
.good { color: var(--good); background: var(--good-bg); }
.bad { color: var(--bad); background: var(--bad-bg); }
.warn { color: var(--warn); background: var(--warn-bg); }
.key { color: var(--key); background: var(--key-bg); }
.plain { color: var(--dim); background: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(5, 1fr); gap: 12px; margin: 16px 0 0; padding: 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tile dt { color: var(--dim); font-size: 13px; }
.tile dd { margin: 0; font-size: 23px; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile small { display: block; font-size: 13px; font-weight: 400; color: var(--dim); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
table { width: 100%; border-collapse: collapse; }
th { padding: 9px 14px; color: var(--dim); font-size: 13px; font-weight: 500; text-align: left; }
thead { background: var(--soft); }
td { padding: 10px 14px; border-top: 1px solid var(--line); vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.hosts { margin: 0; padding: 0; list-style: none; }
.badge {
  display: inline-block; padding: 1px 8px; border-radius: 99px; font-size: 12.5px; font-weight: 500; line-height: 1.5;
  white-space: nowrap;
}
.empty { padding: 14px 16px; color: var(--dim); margin: 0; }
.finding { display: grid; grid-template-columns: 108px 1fr; gap: 2px 12px; padding: 12px 16px; }
.finding + .finding { border-top: 1px solid var(--line); }
.finding p { margin: 0; overflow-wrap: anywhere; }
.finding .at { grid-column: 2; font-size: 13.5px; color: var(--dim); }
.bar { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; margin: 0 0 12px; }
.bar input[type=search] {
  flex: 1 1 260px; min-width: 0; padding: 7px 11px; border: 1px solid var(--line); border-radius: 7px;
  background: var(--card); color: inherit; font: inherit;
}
.bar label { white-space: nowrap; color: var(--dim); font-size: 14px; }
.bar output { color: var(--dim); font-size: 14px; }
.test, .seen { margin-bottom: 10px; }
.seen { margin-top: 10px; }
.seen > summary { display: grid; grid-template-columns: 12px 1fr; gap: 10px; padding: 10px 16px; color: var(--dim); }
.seen > .finding { border-top: 1px solid var(--line); }
summary { cursor: pointer; list-style: none; }
summary::-webkit-details-marker { display: none; }
summary:focus-visible, input:focus-visible, a:focus-visible { outline: 2px solid var(--link); outline-offset: -2px; }
summary::before { content: "\\25B8"; color: var(--dim); font-size: 11px; line-height: 22px; }
details[open] > summary::before { content: "\\25BE"; }
.test > summary {
  display: grid; grid-template-columns: 12px auto 1fr auto; gap: 10px; align-items: baseline; padding: 11px 16px;
}
summary:hover { background: var(--soft); }
.test > summary .count { color: var(--dim); font-size: 13.5px; white-space: nowrap; }
.ex { border-top: 1px solid var(--line); }
.ex > summary {
  display: grid; grid-template-columns: 12px 58px minmax(0, 5fr) 66px minmax(0, 4fr) 74px; gap: 10px;
  align-items: baseline; padding: 8px 16px; font-size: 14px;
}
.ex .fate { color: var(--dim); overflow-wrap: anywhere; }
.ex .time { color: var(--dim); }
.ex .fate .badge { margin: 0 4px 2px 0; white-space: normal; }
.more { padding: 6px 16px 16px 38px; font-size: 13.5px; }
.more dl { display: grid; grid-template-columns: 190px 1fr; gap: 3px 14px; margin: 0 0 10px; }
.more dt { color: var(--dim); }
.more dd { margin: 0; overflow-wrap: anywhere; }
.heads { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 12px; }
.heads h3 { margin: 0 0 4px; font-size: 13px; font-weight: 500; color: var(--dim); }
.heads pre {
  margin: 0; padding: 9px 11px; border-radius: 6px; background: var(--soft); font: 12.5px/1.5 var(--mono);
  white-space: pre-wrap; overflow-wrap: anywhere;
}
.note { border-top: 1px solid var(--line); }
footer { margin: 36px 0 40px; color: var(--dim); font-size: 13.5px; }
@media (max-width: 760px) {
  .wrap { padding: 0 14px; }
  h1 { font-size: 23px; }
  .about > span { display: block; margin: 0; }
  .tiles { grid-template-columns: repeat(2, 1fr); gap: 8px; }
  .tile:first-child { grid-column: 1 / -1; }
  table, tbody, tr, td { display: block; }
  thead { display: none; }
  tr { padding: 10px 14px; border-top: 1px solid var(--line); }
  tr:first-child { border-top: 0; }
  td { display: grid; grid-template-columns: 112px 1fr; gap: 10px; padding: 2px 0; border: 0; text-align: left; }
  td::before { content: attr(data-name); color: var(--dim); font-size: 13.5px; }
  td.n { text-align: left; }
  .finding { grid-template-columns: 1fr; }
  .finding .at { grid-column: 1; }
  .finding .badge { justify-self: start; }
  .test > summary { grid-template-columns: 12px 1fr auto; padding: 10px 12px; }
  .test > summary .count { grid-column: 2 / -1; grid-row: 2; white-space: normal; }
  .ex > summary { grid-template-columns: 12px auto 1fr auto; gap: 2px 10px; padding: 9px 12px; }
  .ex > summary .url { grid-column: 2 / -1; grid-row: 2; }
  .ex > summary .fate { grid-column: 2 / -1; grid-row: 3; }
  .ex > summary .time { grid-column: 3; grid-row: 1; }
  .ex > summary .fate:empty { display: none; }
  .bar input[type=search] { flex-basis: 100%; }
  .more { padding: 4px 12px 14px 34px; }
  .more dl { grid-template-columns: 1fr; gap: 0; }
  .more dd { margin-bottom: 5px; }
}
@media print {
  body { background: none; }
  .bar { display: none; }
  .card { break-inside: avoid; }
}
"""

SCRIPT = """
(function () {
  var bar = document.getElementById("bar"), query = document.getElementById("query");
  var shown = document.getElementById("shown"), tests = document.querySelectorAll(".test");
  var rows = Array.prototype.map.call(tests, function (test) {
    var name = test.querySelector("summary").textContent.toLowerCase();
    return { test: test, name: name, exchanges: Array.prototype.map.call(test.querySelectorAll(".ex"), function (ex) {
      return { ex: ex, text: name + " " + ex.textContent.toLowerCase() };
    }) };
  });
  function apply() {
    var words = query.value.toLowerCase().split(/\\s+/).filter(Boolean), count = 0;
    var only = document.querySelector("input[name=only]:checked").value;
    function holds(text) { return words.every(function (word) { return text.indexOf(word) >= 0; }); }
    rows.forEach(function (row) {
      var test = row.test, own = only === "all" && holds(row.name), any = false;
      row.exchanges.forEach(function (one) {
        var ex = one.ex, fits = (only === "all" || ex.classList.contains(only)) && holds(one.text);
        ex.hidden = !fits;
        any = any || fits;
        count += fits && !ex.classList.contains("tunnel") ? 1 : 0;
      });
      test.hidden = !any && !own;
      if (any && (words.length || only !== "all")) { test.open = true; }
    });
    shown.textContent = count + (count === 1 ? " exchange" : " exchanges");
  }
  query.addEventListener("input", apply);
  bar.addEventListener("change", apply);
  bar.hidden = false;
  apply();
})();
"""
