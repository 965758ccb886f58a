// An open menu, or the question of an action in the head of a page, closes by Escape and by a click
// elsewhere.

export function closeMenus() {
  const open = () => document.querySelectorAll("details.menu[open], .actions details[open]");
  document.addEventListener("click", (event) => {
    for (const menu of open()) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of open()) {
      if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
      menu.open = false;
    }
  });
}
