// Lets a reader narrow the table of all checks; without JavaScript the table is complete.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector(".checks-table table");
  if (!table) return;
  const rows = Array.from(table.tBodies[0].rows);
  const words = document.createElement("input");
  words.type = "search";
  words.placeholder = "Filter: nan, TG5, optimizer…";
  words.setAttribute("aria-label", "Filter the checks by words");
  const severity = document.createElement("select");
  severity.setAttribute("aria-label", "Filter the checks by severity");
  for (const name of ["any severity", "error", "warning", "info"]) {
    severity.add(new Option(name, name === "any severity" ? "" : name));
  }
  const count = document.createElement("output");
  const show = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits =
        wanted.every((word) => text.includes(word)) &&
        (!severity.value || row.cells[2].textContent.trim() === severity.value);
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    count.textContent = `${shown} of ${rows.length}`;
  };
  const bar = document.createElement("div");
  bar.className = "checks-filter";
  bar.append(words, severity, count);
  table.closest(".checks-table").prepend(bar);
  words.addEventListener("input", show);
  severity.addEventListener("change", show);
  show();
});
