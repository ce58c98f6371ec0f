/* The list of questions: filters, pages, one link a question, and the filtered list as a file. */
const PAGE = 50;
const TEXTS = JSON.parse(document.getElementById("texts").textContent);
const fill = (form, values) => form.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

async function unpack(element) {
  const bytes = Uint8Array.from(atob(element.textContent.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/* Names what a row holds, and adds what follows from it: the labels' probabilities, and how far the first is ahead. */
function named(columns, row, data, run) {
  const one = Object.fromEntries(columns.map((column, place) => [column, row[place]]));
  const best = Math.max(...one.logprobs);
  const weights = one.logprobs.map((logprob) => Math.exp(logprob - best));
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  const [first, second] = [...one.logprobs].sort((a, b) => b - a);
  const [task, title] = data.subjects[one.subject];
  one.names = data.labels[one.labels];
  one.pieces = data.texts[one.text];
  one.probabilities = weights.map((weight) => weight / all);
  one.margin = first - second;
  one.isRight = one.right === one.said;
  one.title = title;
  one.task = task;
  one.run = run;
  one.id = `question-${run}-${task}-${one.number}`;
  return one;
}

function facts(one) {
  const labels = { said: one.names[one.said], right: one.names[one.right] };
  const factor = Math.exp(one.margin);
  const shown = factor < 1e6 ? factor.toLocaleString("en", { maximumSignificantDigits: 3 }) : factor.toExponential(1);
  return [
    `${one.title} ${one.number}`,
    fill(one.isRight ? TEXTS.right : TEXTS.wrong, labels),
    one.margin === 0 ? TEXTS.tied : fill(TEXTS.ahead, { factor: shown }),
  ].join(" · ");
}

/* An option's text is known where the question has it in a line of its own. */
function options(one) {
  const list = make("ol", { className: "options" });
  one.names.forEach((name, place) => {
    const share = one.probabilities[place];
    const tags = [place === one.said && TEXTS.tagSaid, place === one.right && TEXTS.tagRight].filter(Boolean);
    const bar = make("span", { className: "bar" }, make("span"));
    bar.firstChild.style.width = `${100 * share}%`;
    const option = make(
      "li",
      { className: [place === one.said && "said", place === one.right && "correct"].filter(Boolean).join(" ") },
      make("span", { className: "name" }, name),
      make("span", { className: "text", lang: "zh" }, one.pieces.length > 1 ? one.pieces[2 * place + 2].trim() : ""),
      make("span", { className: "tags" }, tags.join(", ")),
      bar,
      make("span", { className: "share" }, `${(100 * share).toFixed(1)} %`),
    );
    list.append(option);
  });
  return list;
}

function prompt(one, data) {
  if (one.before < 0) return make("p", { className: "notes" }, TEXTS.promptUnknown);
  const whole = data.around[one.before] + one.pieces.join("") + data.around[one.after];
  const details = make("details", {}, make("summary", {}, fill(TEXTS.prompt, { length: whole.length })));
  // Written when it is first opened: thousands of characters a question.
  details.addEventListener("toggle", () => details.append(make("pre", { lang: "zh" }, whole)), { once: true });
  return details;
}

function item(one, data) {
  const link = make("a", { href: `#${one.id}`, title: TEXTS.link }, "#");
  link.setAttribute("aria-label", TEXTS.link);
  return make(
    "li",
    { id: one.id, className: one.isRight ? "right" : "wrong", tabIndex: -1 },
    make("div", { className: "facts" }, link, " ", facts(one)),
    make("pre", { lang: "zh" }, one.pieces[0].trimEnd()),
    options(one),
    prompt(one, data),
  );
}

/* A cell of a spreadsheet that begins like this would be run as a formula. */
const cell = (value) => {
  const text = typeof value === "string" && /^[\t\r ]*[=+\-@]/.test(value) ? `'${value}` : String(value);
  return `"${text.replaceAll('"', '""')}"`;
};

function csv(found, data) {
  const names = [...new Set(data.labels.flat())].sort();
  const head = ["run", "task", "subject", "number", "right", "said", "outcome", ...names.map((name) => `p(${name})`), "question"];
  const rows = found.map((one) => [
    data.runs[one.run].name,
    one.task,
    one.title,
    one.number,
    one.names[one.right],
    one.names[one.said],
    one.isRight ? "right" : "wrong",
    ...names.map((name) => one.probabilities[one.names.indexOf(name)]?.toFixed(4) ?? ""),
    one.pieces.join(""),
  ]);
  return [head, ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
}

function start(data) {
  const get = (id) => document.getElementById(id);
  const [run, subject, outcome, label, order, search] = ["run", "subject", "outcome", "label", "order", "search"].map(get);
  const [list, count, back, forth] = ["questions", "count", "back", "forth"].map(get);
  const runs = data.runs.map((own, number) => own.rows.map((row) => named(data.columns, row, data, number)));
  const lowered = data.texts.map((pieces) => pieces.join("").toLowerCase());
  // What another run said to the same question of the same subject, to find those that changed.
  const key = (one) => `${one.subject}/${one.number}/${one.text}`;
  const others = runs.map((own) => new Map(own.map((one) => [key(one), one.said])));
  const changed = (one) => others.some((said) => said.has(key(one)) && said.get(key(one)) !== one.said);
  const option = (value, text) => make("option", { value, textContent: text });
  run.append(...data.runs.map((own, number) => option(number, own.name)));
  const titles = data.subjects.map(([, title], number) => [title, number]);
  subject.append(...titles.sort().map(([title, number]) => option(number, title)));
  label.append(...[...new Set(data.labels.flat())].sort().map((name) => option(name, name)));
  if (data.runs.length > 1) outcome.append(option("changed", TEXTS.changed));

  let found = [];
  let page = 0;

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const tests = { right: (one) => one.isRight, wrong: (one) => !one.isRight, changed };
    found = runs[run.value || 0].filter(
      (one) =>
        (subject.value === "" || one.subject === +subject.value) &&
        (label.value === "" || one.names[one.said] === label.value) &&
        (outcome.value === "" || tests[outcome.value](one)) &&
        words.every((word) => lowered[one.text].includes(word)),
    );
    if (order.value) found.sort((a, b) => (order.value === "sure" ? b.margin - a.margin : a.margin - b.margin));
    page = 0;
    show();
  }

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    count.textContent = fill(TEXTS.count, { count: found.length, page: page + 1, pages });
    back.disabled = page === 0;
    forth.disabled = page >= pages - 1;
    list.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((one) => item(one, data)));
  }

  function turn(by) {
    page += by;
    show();
    list.scrollIntoView();
  }

  function only(number, task) {
    for (const control of [outcome, label, order, search]) control.value = "";
    run.value = number;
    const place = data.subjects.findIndex(([own]) => own === task);
    subject.value = place < 0 ? "" : place;
    filter();
    return place >= 0 && found.length > 0;
  }

  /* #subject-RUN-TASK shows the questions of a task, #question-RUN-TASK-NUMBER one of them. */
  function follow() {
    const name = decodeURIComponent(location.hash).slice(1);
    const asked = /^subject-(\d+)-(.+)$/.exec(name) ?? /^question-(\d+)-(.+)-\d+$/.exec(name);
    if (!asked) return;
    const [, number, task] = asked;
    const known = runs[number] && only(+number, task);
    const place = known && name.startsWith("question") ? found.findIndex((one) => one.id === name) : 0;
    if (!known || place < 0) {
      count.textContent = fill(TEXTS.unknownQuestion, { name });
      return;
    }
    if (name.startsWith("subject")) {
      get("all-questions").scrollIntoView();
      run.focus({ preventScroll: true });
      return;
    }
    page = Math.floor(place / PAGE);
    show();
    const shown = get(found[place].id);
    shown.scrollIntoView();
    shown.focus({ preventScroll: true });
  }

  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 150);
  });
  for (const control of [run, subject, outcome, label, order]) control.addEventListener("change", filter);
  back.addEventListener("click", () => turn(-1));
  forth.addEventListener("click", () => turn(1));
  get("csv").addEventListener("click", () => {
    // The mark at the beginning tells spreadsheets that it is UTF-8.
    const address = URL.createObjectURL(new Blob(["\ufeff", csv(found, data)], { type: "text/csv" }));
    make("a", { href: address, download: "questions.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
  addEventListener("hashchange", follow);
  filter();
  follow();
}

const packed = document.getElementById("packed-questions");
if (packed) {
  unpack(packed).then(start, (error) => {
    document.getElementById("count").textContent = fill(TEXTS.tooOld, { reason: error.message });
  });
}
