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

/* Beside a chart there is room for its table; below it, on a phone, it waits to be opened. */
if (matchMedia("(min-width: 75rem)").matches) {
  for (const details of document.querySelectorAll("details.open-on-desktop")) details.open = true;
}

/* Paper has no button to open what is folded. */
const folded = new Set();
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("main details:not([open]):not(#configuration *):not(#questions *)")) {
    folded.add(details);
    details.open = true;
  }
});
addEventListener("afterprint", () => {
  for (const details of folded) details.open = false;
  folded.clear();
});
