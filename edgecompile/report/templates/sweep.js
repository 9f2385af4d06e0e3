"use strict";
const table = document.getElementById("points");
const body = table.tBodies[0];
table.tHead.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const head = button.parentElement;
  const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
  const value = (row) => row.cells[head.cellIndex].dataset.value ?? "";
  const compare = (a, b) => {
    const [one, two] = [value(a), value(b)];
    if (one === "" || two === "") return (one === "") - (two === "");
    return way * (head.className === "num" ? one - two : one.localeCompare(two, undefined, {numeric: true}));
  };
  body.append(...[...body.rows].sort(compare));
});
document.getElementById("filter").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/);
  for (const row of body.rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
});
