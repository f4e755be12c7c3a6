// Large files on their way in, with how far they are: models, and backups in the settings.
const astraiUpload = (address, file, tell, signal) => new Promise((resolve) => {
  const request = new XMLHttpRequest();
  request.upload.addEventListener("progress", (event) => tell(event.loaded, event.total));
  request.addEventListener("loadend", () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* the connection was lost */ }
    resolve({ isTaken: request.status === 200, error: answer.error });
  });
  signal?.addEventListener("abort", () => request.abort());
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

const astraiModelDrop = (element, trigger) => {
  const MB = 2 ** 20;
  const zone = () => element.querySelector(".drop-model"), place = () => element.querySelector(".sent");
  const fail = (text) => place().replaceChildren(Object.assign(document.createElement("p"), { className: "error", textContent: text }));

  const send = async (dropped) => {
    const { endings, sending, none, lost, stop } = zone().dataset;
    const files = dropped.filter(({ name }) => endings.split(",").some((ending) => name.toLowerCase().endsWith(ending)));
    if (!files.some(({ name }) => /\.(gguf|safetensors)$/i.test(name))) return fail(none);
    const random = crypto.getRandomValues(new Uint8Array(10));
    const batch = [...random].map((byte) => byte.toString(36).padStart(2, "0")).join("");
    const language = document.querySelector("#language input:checked")?.value ?? "", ending = new AbortController();
    const bar = document.createElement("progress"), line = document.createElement("span");
    const button = Object.assign(document.createElement("button"), { className: "act", textContent: stop });
    button.addEventListener("click", () => ending.abort());
    place().replaceChildren(bar, " ", line, " ", button);
    const total = files.reduce((sum, { file }) => sum + file.size, 0);
    let sent = 0;
    for (const { file, name } of files) {
      const address = `/models/files/${batch}?${new URLSearchParams({ name, language })}`;
      const answer = await astraiUpload(address, file, (done) => {
        bar.max = total;
        bar.value = sent + done;
        const values = { name, done: Math.floor((sent + done) / MB), total: Math.ceil(total / MB) };
        line.textContent = sending.replace(/\{(\w+)\}/g, (_, key) => values[key].toLocaleString("en"));
      }, ending.signal);
      if (ending.signal.aborted) return place().replaceChildren();
      if (!answer.isTaken) return fail(answer.error ?? lost.replace("{name}", name));
      sent += file.size;
    }
    place().replaceChildren();
    trigger("upload", { batch });
  };

  const tab = document.querySelector("#shelf-tab");
  tab.addEventListener("dragover", (event) => { event.preventDefault(); zone()?.classList.add("over"); });
  tab.addEventListener("dragleave", (event) => { if (!tab.contains(event.relatedTarget)) zone()?.classList.remove("over"); });
  tab.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone()?.classList.remove("over");
    send(await astrai.dropped(event.dataTransfer));
  });
  element.addEventListener("change", (event) => {
    const files = [...event.target.files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
    event.target.value = "";
    send(files);
  });
};
