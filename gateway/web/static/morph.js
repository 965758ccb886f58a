// Changes an element's content to new HTML, and leaves alone what is equal: so the focus, the
// selection, what was typed, open details and the scroll position stay.

export function morph(element, html) {
  const wanted = document.createElement("template");
  wanted.innerHTML = html;
  children(element, wanted.content);
}

function children(now, wanted) {
  const named = new Map();
  for (const child of now.children) if (child.id) named.set(child.id, child);
  let at = now.firstChild;
  for (const next of [...wanted.childNodes]) {
    const same = next.id && named.get(next.id);
    if (same && same !== at) {
      now.insertBefore(same, at);
      at = same;
    }
    if (at && alike(at, next)) {
      node(at, next);
      at = at.nextSibling;
    } else {
      now.insertBefore(next, at);
    }
  }
  while (at) {
    const after = at.nextSibling;
    at.remove();
    at = after;
  }
}

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && (one.id || "") === (other.id || "");
}

function node(now, wanted) {
  if (now.nodeType !== Node.ELEMENT_NODE) {
    if (now.nodeValue !== wanted.nodeValue) now.nodeValue = wanted.nodeValue;
    return;
  }
  // A script keeps these by itself.
  if (now.hasAttribute("data-log") || now.hasAttribute("data-keep")) return;
  attributes(now, wanted);
  children(now, wanted);
}

function attributes(now, wanted) {
  const own = now.nodeName === "DETAILS" ? ["open"] : ["INPUT", "OPTION"].includes(now.nodeName) ? ["value", "checked", "selected"] : [];
  for (const { name, value } of wanted.attributes)
    if (!own.includes(name) && now.getAttribute(name) !== value) now.setAttribute(name, value);
  for (const { name } of [...now.attributes])
    if (!own.includes(name) && !wanted.hasAttribute(name)) now.removeAttribute(name);
}
