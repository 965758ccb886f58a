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
// followed, and loaded again without sending the form again. Where that is not known it stays as it is.
const { answerOf } = document.body.dataset;
if (answerOf) history.replaceState(null, "", answerOf);
if (answerOf !== "" && document.querySelector("[data-live]")) follow(enliven);
setInterval(() => showTimes(document), 30_000);
