// What all pages have: each module works on the elements that it finds, and again on those that a
// live region brings. Without scripts everything works by forms and links.
import { follow } from "./live.js";
import { showTimes } from "./times.js";
import { addCopyButtons } from "./copy.js";
import { listenForKeys } from "./keys.js";
import { closeMenus } from "./menus.js";
import { followLogs } from "./log.js";
import { showChartTimes, watchCharts } from "./chart.js";
import { sendInPlace } from "./in_place.js";
import { pickFunctions } from "./new_model.js";
import { takeUploads } from "./upload.js";
import { watchEditors } from "./editor.js";

function enliven(root) {
  showTimes(root);
  addCopyButtons(root);
  followLogs(root);
  showChartTimes(root);
  sendInPlace(root, enliven);
  pickFunctions(root);
  takeUploads(root);
  watchEditors(root);
}

enliven(document);
listenForKeys();
closeMenus();
watchCharts();
// The answer of a form is the page of the form. It gets the address of that page, so that it can be
// followed, and loaded again without sending the form again. A page without an address, such as one
// that is refused, stays as it is: it would be refused again, without end.
const { address } = document.body.dataset;
if (address) history.replaceState(null, "", address);
if (address !== "" && document.querySelector("[data-live]")) follow(enliven);
setInterval(() => document.hidden || showTimes(document), 5_000);
