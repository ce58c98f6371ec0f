"use strict";

/* Sorts a table when the button in a column's head is pressed. */
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const column = [...head.parentNode.children].indexOf(head);
    const body = head.closest("table").tBodies[0];
    const up = head.getAttribute("aria-sort") !== "ascending";
    const value = (row) => row.children[column].dataset.value ?? row.children[column].textContent;
    const numeric = head.classList.contains("number");
    const order = (a, b) => (numeric ? value(a) - value(b) : value(a).localeCompare(value(b)));
    const rows = [...body.rows].sort((a, b) => (up ? order(a, b) : order(b, a)));
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  });
}

const PAGE = 50;
const [SUBJECT, NUMBER, TEXT, RIGHT, PREDICTED, MARGIN] = [0, 1, 2, 3, 4, 5];

async function unpack(element) {
  const bytes = Uint8Array.from(atob(element.textContent.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function start(data) {
  const get = (id) => document.getElementById(id);
  const [run, subject, outcome, label, order, search] = ["run", "subject", "outcome", "label", "order", "search"].map(get);
  const [list, count, back, forth] = ["questions", "count", "back", "forth"].map(get);
  const lowered = data.texts.map((text) => text.toLowerCase());
  // What another run said to the same question of the same subject, to find those that changed.
  const others = data.runs.map((own) => {
    const said = new Map();
    for (const row of own.rows) said.set(row[SUBJECT] + "/" + row[NUMBER] + "/" + row[TEXT], row[PREDICTED]);
    return said;
  });
  const key = (row) => row[SUBJECT] + "/" + row[NUMBER] + "/" + row[TEXT];
  const changed = (row) => others.some((said) => said.has(key(row)) && said.get(key(row)) !== row[PREDICTED]);
  const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });
  run.append(...data.runs.map((own, n) => option(n, own.name)));
  subject.append(...data.subjects.map((name, n) => [name, n]).sort().map(([name, n]) => option(n, name)));
  label.append(...data.labels.map((name, n) => [name, n]).sort().map(([name, n]) => option(n, name)));
  if (data.runs.length > 1) outcome.append(option("changed", "answered otherwise by another run"));

  let found = [];
  let page = 0;

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const tests = {
      right: (row) => row[RIGHT] === row[PREDICTED],
      wrong: (row) => row[RIGHT] !== row[PREDICTED],
      changed,
    };
    found = data.runs[run.value || 0].rows.filter(
      (row) =>
        (subject.value === "" || row[SUBJECT] === +subject.value) &&
        (label.value === "" || row[PREDICTED] === +label.value) &&
        (outcome.value === "" || tests[outcome.value](row)) &&
        words.every((word) => lowered[row[TEXT]].includes(word)),
    );
    if (order.value) found.sort((a, b) => (order.value === "sure" ? b[MARGIN] - a[MARGIN] : a[MARGIN] - b[MARGIN]));
    page = 0;
    show();
  }

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    count.textContent = `${found.length} questions, page ${page + 1} of ${pages}`;
    back.disabled = page === 0;
    forth.disabled = page >= pages - 1;
    list.replaceChildren(
      ...found.slice(page * PAGE, (page + 1) * PAGE).map((row) => {
        const right = row[RIGHT] === row[PREDICTED];
        const item = Object.assign(document.createElement("li"), { className: right ? "right" : "wrong" });
        const facts = Object.assign(document.createElement("div"), { className: "facts" });
        const said = `said ${data.labels[row[PREDICTED]]}, ${right ? "right" : `wrong (right: ${data.labels[row[RIGHT]]})`}`;
        facts.textContent = `${data.subjects[row[SUBJECT]]} ${row[NUMBER]} · ${said} · ahead by ${row[MARGIN]} nats`;
        const text = Object.assign(document.createElement("pre"), { textContent: data.texts[row[TEXT]] });
        item.append(facts, text);
        return item;
      }),
    );
  }

  function turn(by) {
    page += by;
    show();
    list.scrollIntoView();
  }

  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 150);
  });
  for (const control of [run, subject, outcome, label, order]) control.addEventListener("change", filter);
  back.addEventListener("click", () => turn(-1));
  forth.addEventListener("click", () => turn(1));
  filter();
}

const packed = document.getElementById("packed-questions");
if (packed) {
  unpack(packed).then(start, (error) => {
    document.getElementById("count").textContent =
      `The questions could not be unpacked (${error.message}): this browser may be too old. ` +
      "They need DecompressionStream: Chromium 80, Firefox 113, Safari 16.4 or later.";
  });
}
