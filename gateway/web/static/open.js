// The token of a one-time link is behind the #, where no server or proxy sees it. The script removes
// it from the address bar, and so from the history, before it sends it. A link that is pasted into a
// tab with this page changes only the part behind the #, and loads nothing.
function redeem() {
  const token = location.hash.slice(1);
  if (token) {
    history.replaceState(null, "", location.pathname);
    const form = document.getElementById("open");
    form.elements.token.value = token;
    form.submit();
  }
}
addEventListener("hashchange", redeem);
redeem();
