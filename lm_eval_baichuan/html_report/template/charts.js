/* Shows the values of a chart's marks: under the pointer, and by keyboard (Tab to a chart, arrows inside it). */
const MARKS = ".chart [role='graphics-symbol'][aria-label]";
const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true, role: "status" });
document.body.append(tip);

function showTip(mark, x, y) {
  tip.textContent = mark.getAttribute("aria-label");
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - width - 4))}px`;
  tip.style.top = `${y + 16 + height > innerHeight ? Math.max(4, y - height - 8) : y + 16}px`;
}

const hideTip = () => (tip.hidden = true);

/* Puts a link around a mark: the library that draws the charts knows no links inside a page. */
function linked(mark, address) {
  const link = document.createElementNS("http://www.w3.org/2000/svg", "a");
  link.setAttribute("href", address);
  link.setAttribute("aria-label", mark.getAttribute("aria-label"));
  mark.replaceWith(link);
  link.append(mark);
  return link;
}

for (const chart of document.querySelectorAll(".chart svg")) {
  const links = JSON.parse(chart.closest(".chart").dataset.links ?? "[]");
  const marks = [...chart.querySelectorAll("[role='graphics-symbol'][aria-label]")];
  const reached = marks.map((mark, place) => ({ mark, target: links[place] ? linked(mark, links[place]) : mark }));
  reached.forEach(({ mark, target }, place) => {
    target.setAttribute("tabindex", place === 0 ? "0" : "-1");
    target.addEventListener("focus", () => {
      const box = mark.getBoundingClientRect();
      showTip(mark, box.left, box.bottom - 8);
    });
    target.addEventListener("blur", hideTip);
    target.addEventListener("keydown", (event) => {
      const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
      const step = steps[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const next = reached[Math.max(0, Math.min(place + step, reached.length - 1))].target;
      target.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  });
}

document.addEventListener("pointermove", (event) => {
  const mark = event.target.closest?.(MARKS);
  if (mark) showTip(mark, event.clientX, event.clientY);
  else if (!document.activeElement?.closest(".chart")) hideTip();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
});
