// The token of a one-time link stands behind the #, where no server and no proxy sees it. It leaves
// the address bar, and so the history, before it is sent.
const token = location.hash.slice(1);
if (token) {
  history.replaceState(null, "", location.pathname);
  const form = document.getElementById("open");
  form.elements.token.value = token;
  form.submit();
}
