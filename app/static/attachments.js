// Files for the next question: picked, pasted, or dropped anywhere onto the chat.
const astraiAttachments = (element, trigger) => {
  const bar = () => element.querySelector(".attach");
  let batch = "";

  const send = async (files) => {
    if (!files.length) return;
    const random = crypto.getRandomValues(new Uint8Array(10));
    // One name for all files until they are asked about; the chips tell whether some still wait.
    if (!batch || !element.querySelector("li")) batch = [...random].map((byte) => byte.toString(36).padStart(2, "0")).join("");
    const failed = [];
    for (const file of files) {
      if (file.size > Number(bar().dataset.most)) {
        const size = Math.ceil(file.size / 2 ** 20).toLocaleString("en");
        failed.push(bar().dataset.tooLarge.replace("{name}", file.name).replace("{size}", size));
        continue;
      }
      bar().querySelector(".note").textContent = bar().dataset.busy.replace("{name}", file.name);
      const address = `${bar().dataset.address}/${batch}?${new URLSearchParams({ name: file.name })}`;
      const response = await fetch(address, { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file });
      if (!response.ok) failed.push((await response.json().catch(() => ({}))).error ?? file.name);
    }
    trigger("upload", { batch, failed: failed.join(" ") });
  };

  element.addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    send(files);
  });
  element.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-name]");
    if (button) trigger("input", { name: button.dataset.name });
  });

  const chat = document.querySelector("#chat-tab");
  const holdsFiles = (event) => [...(event.dataTransfer ?? event.clipboardData)?.items ?? []].some((item) => item.kind === "file");
  chat.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    chat.classList.add("over");
  });
  chat.addEventListener("dragleave", (event) => { if (!chat.contains(event.relatedTarget)) chat.classList.remove("over"); });
  // Before the text box sees it: it would take the file for a text.
  chat.addEventListener("drop", (event) => {
    chat.classList.remove("over");
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    send([...event.dataTransfer.files]);
  }, true);
  chat.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (!files.length || event.clipboardData.types.includes("text/plain")) return;
    event.preventDefault();
    event.stopPropagation();
    send(files);
  }, true);
};
