// A picture opens on a click, or by Enter, as large as the window lets it; another click or Escape closes it.
const large = document.createElement("dialog");
large.className = "large";
large.setAttribute("aria-label", "Enlarged picture");
large.addEventListener("click", () => large.close());
addEventListener("keydown", event => { if (event.key === "Escape") large.close(); }, true);  // before the theme, which keeps Escape for its search
document.body.append(large);

for (const picture of document.querySelectorAll(".bd-article img")) {
  if (picture.closest("a")) continue;
  picture.tabIndex = 0;
  picture.setAttribute("role", "button");
  const open = () => {
    const copy = new Image();
    copy.src = picture.src;
    copy.alt = picture.alt;
    large.replaceChildren(copy);
    large.showModal();
  };
  picture.addEventListener("click", open);
  picture.addEventListener("keydown", event => { if (event.key === "Enter") open(); });
}

// Tables scroll in a box of their own, which the keyboard reaches.
for (const table of document.querySelectorAll(".bd-article table")) {
  if (table.closest(".scrolls, .pst-scrollable-table-container")) continue;
  const box = document.createElement("div");
  box.className = "scrolls";
  box.tabIndex = 0;
  table.replaceWith(box);
  box.append(table);
}
