// Large files on their way in, with how far they are: backups in the settings.
const astraiUpload = (address, file, tell) => new Promise((resolve) => {
  const request = new XMLHttpRequest();
  request.upload.addEventListener("progress", (event) => tell(event.loaded, event.total));
  request.addEventListener("loadend", () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* the connection was lost */ }
    resolve({ isTaken: request.status === 200, error: answer.error });
  });
  request.open("POST", address);
  request.setRequestHeader("content-type", "application/octet-stream");
  request.send(file);
});

const astraiArchive = (element, trigger) => {
  const section = () => element.querySelector(".archive");
  element.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-act]");
    if (button) trigger("input", { act: button.dataset.act });
  });
  element.addEventListener("change", async (event) => {
    const [file] = event.target.files, { dataset } = section(), place = element.querySelector(".sent");
    const field = event.target;
    const bar = Object.assign(document.createElement("progress"), { max: 1 }), line = document.createElement("span");
    field.disabled = true;
    place.replaceChildren(bar, " ", line);
    const language = document.querySelector("#language input:checked")?.value ?? "";
    const address = `/archive/restore?${new URLSearchParams({ name: file.name, language })}`;
    const answer = await astraiUpload(address, file, (done, total) => {
      if (done < total) bar.value = done / total; else bar.removeAttribute("value");
      line.textContent = done < total ? dataset.sending.replace("{share}", Math.floor(100 * done / total)) : dataset.checking;
    });
    field.disabled = false;
    field.value = "";
    if (answer.isTaken) {
      trigger("input", { act: "show" });
      return;
    }
    const error = Object.assign(document.createElement("p"), { className: "error", textContent: answer.error ?? dataset.lost });
    place.replaceChildren(error);
  });
};
