"""The HTML of a contact sheet of patches: a jinja2 template that needs no network and no other file."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Patches of {{ store }}, page {{ page }} of {{ pages }}</title>
<style>
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d5dae0;
  --card: #f5f7f9; --accent: #0072b2; --marked: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171b; --ink: #e7eaee; --soft: #a2abb5; --line: #363c44; --card: #1e2329;
    --accent: #56b4e9; --marked: #ff8a80; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0 1.25rem 4rem; max-width: 84rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere; }
h1 { margin: 1.5rem 0 .25rem; font-size: 1.5rem; line-height: 1.25; }
h2 { margin: 2rem 0 .75rem; padding-bottom: .3rem; border-bottom: 2px solid var(--accent);
  font-size: 1.15rem; }
p { margin: .4rem 0; }
.soft { color: var(--soft); }
kbd { padding: 0 .35rem; border: 1px solid var(--line); border-radius: .25rem; background: var(--card);
  font-size: .85em; }
.bar { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .5rem 1rem;
  margin: .75rem 0; align-items: center; padding: .6rem 0;
  border-bottom: 1px solid var(--line); background: var(--paper); }
button { padding: .4rem .9rem; border: 1px solid var(--accent); border-radius: .4rem;
  background: var(--accent); color: var(--paper); font: inherit; font-weight: 600; cursor: pointer; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem; }
.card { border: 2px solid var(--line); border-radius: .4rem; overflow: hidden; background: var(--card); }
.card:focus-within { border-color: var(--accent); }
.card.marked { border-color: var(--marked); }
.card.zoomed { grid-column: 1 / -1; }
.card img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #000;
  cursor: zoom-in; }
.card.zoomed img { width: min(100%, 85vh); margin: 0 auto; cursor: zoom-out; image-rendering: pixelated; }
.card div { padding: .35rem .6rem .6rem; font-size: .8rem; line-height: 1.4; }
.card label { display: block; font-weight: 600; cursor: pointer; }
.card.marked label { color: var(--marked); }
input[type=checkbox] { width: 1rem; height: 1rem; vertical-align: -.15rem; }
input[type=text] { width: 100%; margin-top: .25rem; padding: .2rem .35rem; border: 1px solid var(--line);
  border-radius: .25rem; background: var(--paper); color: var(--ink); font: inherit; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 1px; }
</style>
</head>
<body>
<h1>Patches of {{ store }}, page {{ page }} of {{ pages }}</h1>
<p class="soft">{{ shown }} of {{ total }} patches, each in the contrast of its own pixels. Mark those whose
class cannot be told; they are drawn no more once <code>mammodet patches --curation</code> has read the list.
mammodet {{ version }}. For research, not for diagnosis.</p>
<p class="soft">Keys: <kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd> go from patch to patch,
<kbd>Space</kbd> marks, <kbd>Z</kbd> or a click on the picture enlarges, <kbd>Tab</kbd> leads to the remark,
<kbd>Ctrl</kbd>+<kbd>S</kbd> saves.</p>
<div class="bar"><button id="save" type="button">Save the list as CSV</button>
<span id="told" role="status" aria-live="polite"></span></div>
{% for title, cards in groups %}
<h2>{{ title }}</h2>
<div class="cards">
{% for card in cards %}
<div class="card{{ " marked" if card.row.ambiguous }}" data-row="{{ card.number }}"><img src="{{ card.uri }}"
alt="Patch {{ card.row.id }} of {{ card.row.file }}"><div>
<label><input type="checkbox"{{ " checked" if card.row.ambiguous }}> ambiguous</label>
{{ card.row.file }} at {{ card.row.x }}, {{ card.row.y }}<br>
<span class="soft">patch {{ card.row.id }}{{ card.more }}</span>
<input type="text" value="{{ card.row.remark }}" placeholder="remark" maxlength="500"
aria-label="Remark on patch {{ card.row.id }}"></div></div>
{% endfor %}
</div>
{% endfor %}
<script type="application/json" id="rows">{{ rows }}</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("rows").textContent);
const cards = [...document.querySelectorAll(".card")];
const boxOf = card => card.querySelector("input[type=checkbox]");
const told = document.getElementById("told");
let saved = true;
function tell() {
  const marked = cards.filter(card => boxOf(card).checked).length;
  told.textContent = `${marked} of ${cards.length} marked` + (saved ? "" : ", not saved");
}
function cell(value) {
  const text = String(value);
  return /[",;\\r\\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}
function save() {
  const lines = [data.columns.join(",")];
  for (const card of cards) {
    const row = {...data.rows[Number(card.dataset.row)]};
    row.ambiguous = boxOf(card).checked ? 1 : 0;
    row.remark = card.querySelector("input[type=text]").value;
    lines.push(data.columns.map(name => cell(row[name])).join(","));
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\\r\\n") + "\\r\\n"], {type: "text/csv"}));
  link.download = data.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  saved = true;
  tell();
}
function go(from, step) {
  const next = cards[cards.indexOf(from) + step];
  if (next) { boxOf(next).focus(); next.scrollIntoView({block: "nearest"}); }
}
function perRow(card) {
  const top = card.offsetTop;
  return Math.max(1, [...card.parentElement.children].filter(one => one.offsetTop === top).length);
}
for (const card of cards) {
  boxOf(card).addEventListener("change", () => {
    card.classList.toggle("marked", boxOf(card).checked);
    saved = false;
    tell();
  });
  card.querySelector("input[type=text]").addEventListener("input", () => { saved = false; tell(); });
  card.querySelector("img").addEventListener("click", () => card.classList.toggle("zoomed"));
}
document.addEventListener("keydown", event => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s") {
    event.preventDefault();
    save();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "text") return;
  const card = event.target.closest(".card");
  const steps = {ArrowRight: 1, ArrowLeft: -1};
  if (event.key.startsWith("Arrow") && !card) {
    event.preventDefault();
    boxOf(cards[0]).focus();
  } else if (card && event.key in steps) {
    event.preventDefault();
    go(card, steps[event.key]);
  } else if (card && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    event.preventDefault();
    go(card, (event.key === "ArrowDown" ? 1 : -1) * perRow(card));
  } else if (card && event.key.toLowerCase() === "z") {
    card.classList.toggle("zoomed");
  }
});
document.getElementById("save").addEventListener("click", save);
window.addEventListener("beforeunload", event => { if (!saved) event.preventDefault(); });
tell();
</script>
</body>
</html>
"""
