// Uploads files to a folder of a project: chosen, or dropped on the form, with progress.
import { notice } from "./notices.js";

export function takeUploads(root) {
  for (const form of root.querySelectorAll("[data-upload][hidden]")) start(form);
}

function start(form) {
  form.hidden = false;
  const chosen = form.querySelector("input[type=file]");
  chosen.addEventListener("change", () => send(form, [...chosen.files]));
  form.addEventListener("dragover", (event) => {
    event.preventDefault();
    form.classList.add("over");
  });
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    send(form, [...event.dataTransfer.files]);
  });
}

// fetch() tells nothing of how much has been sent.
function send(form, files) {
  if (!files.length) return;
  const bar = form.querySelector("progress");
  const text = form.querySelector("output");
  const body = new FormData();
  const folder = form.dataset.folder ? form.dataset.folder + "/" : "";
  for (const file of files) body.append(folder + file.name, file);
  const request = new XMLHttpRequest();
  request.open("PUT", form.dataset.upload);
  request.setRequestHeader("X-CSRF-Token", form.elements.form_token.value);
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) bar.value = event.loaded / event.total;
    text.textContent = `${Math.floor(bar.value * 100)} %`;
  });
  request.addEventListener("loadend", () => {
    bar.hidden = true;
    form.querySelector("input[type=file]").value = "";
    text.textContent = request.status === 200 ? "" : problem(request);
    if (request.status === 200) notice(files.length === 1 ? `${files[0].name} is uploaded.` : `${files.length} files are uploaded.`);
  });
  bar.hidden = false;
  bar.value = 0;
  text.textContent = "0 %";
  request.send(body);
}

function problem(request) {
  try {
    return JSON.parse(request.responseText).message;
  } catch {
    return "The upload was interrupted. Send it again.";
  }
}
