// Create a Model: the functions of the file that is picked, and the signature of the function.

export function pickFunctions(root) {
  const file = root.querySelector("[data-picks-file]");
  const functions = root.querySelector("[data-picks-function]");
  if (!file || !functions || functions.dataset.begun) return;
  functions.dataset.begun = "yes";
  const groups = [...functions.querySelectorAll("optgroup")];
  const signature = document.getElementById("signature");

  function narrow() {
    for (const group of groups) {
      if (group.label === file.value) functions.append(group);
      else group.remove();
    }
  }

  function tell() {
    const { signature: text = "", summary = "" } = functions.selectedOptions[0]?.dataset ?? {};
    const code = document.createElement("code");
    code.textContent = text;
    signature.replaceChildren(...(text ? [code, ` ${summary}`] : []));
  }

  file.addEventListener("change", () => {
    narrow();
    const offered = functions.querySelectorAll("optgroup option");
    functions.value = offered.length === 1 ? offered[0].value : "";
    tell();
  });
  functions.addEventListener("change", tell);
  narrow();
}
