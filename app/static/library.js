// The library's own parts: dropped files, the table's choice, and the dialog that shows a passage.
const astrai = (() => {
  const language = () => document.querySelector("#language input:checked")?.value ?? "";
  const PIXELS_PER_POINT = 2; // of the pictures of pages
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  // All files below what was dropped, with their path within it.
  const filesOf = async (entry, folder = "") => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      return [{ file, name: folder + file.name }];
    }
    const reader = entry.createReader();
    const found = [];
    for (;;) {
      const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!entries.length) return found;
      for (const inner of entries) {
        if (!inner.name.startsWith(".")) found.push(...await filesOf(inner, `${folder}${entry.name}/`));
      }
    }
  };

  const send = async (address, batch, collection, { file, name }) => {
    const query = new URLSearchParams({ name, collection, language: language() });
    const headers = { "content-type": "application/octet-stream" };
    const response = await fetch(`${address}/${batch}?${query}`, { method: "POST", body: file, headers });
    if (!response.ok) throw new Error((await response.json()).error ?? name);
  };

  const upload = async (zone, files, trigger) => {
    if (!files.length) return;
    const random = crypto.getRandomValues(new Uint8Array(10));
    const batch = [...random].map((byte) => byte.toString(36).padStart(2, "0")).join("");
    const collection = document.querySelector("#target input")?.value || "default";
    const note = zone.querySelector(".note");
    const failed = [];
    for (const [index, file] of files.entries()) {
      note.textContent = fill(zone.dataset.busy, { done: index + 1, total: files.length });
      try { await send(zone.dataset.address, batch, collection, file); } catch (error) { failed.push(error.message || file.name); }
    }
    note.textContent = failed.length ? fill(zone.dataset.failed, { names: failed.slice(0, 5).join("; ") }) : "";
    trigger("upload", { batch, collection });
  };

  const dropped = async (transfer) => {
    const items = [...transfer.items].filter((item) => item.kind === "file");
    const found = await Promise.all(items.map((item) => {
      const [entry, file] = [item.webkitGetAsEntry(), item.getAsFile()];
      return entry ? filesOf(entry) : [{ file, name: file.name }];
    }));
    return found.flat();
  };

  const dropZone = (element, trigger) => {
    const over = (event, isOver) => {
      event.preventDefault();
      element.querySelector(".drop")?.classList.toggle("over", isOver);
    };
    element.addEventListener("dragover", (event) => over(event, true));
    element.addEventListener("dragleave", (event) => over(event, false));
    element.addEventListener("drop", async (event) => {
      over(event, false);
      await upload(element.querySelector(".drop"), await dropped(event.dataTransfer), trigger);
    });
    element.addEventListener("change", async (event) => {
      const files = [...event.target.files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
      await upload(element.querySelector(".drop"), files, trigger);
      event.target.value = "";
    });
  };

  const documents = (element, trigger) => {
    const boxes = () => [...element.querySelectorAll("tbody input")];
    element.addEventListener("change", (event) => {
      if (event.target.matches(".all")) boxes().forEach((box) => { box.checked = event.target.checked; });
      trigger("input", { documents: boxes().filter((box) => box.checked).map((box) => box.value) });
    });
    element.addEventListener("click", (event) => {
      const button = event.target.closest("button.open");
      if (button) trigger("select", { document: button.dataset.document });
    });
  };

  // Instead of a page that cannot be shown, the sentence that says why.
  const sayWhy = async (picture) => {
    const why = document.createElement("p");
    why.className = "error";
    why.textContent = await (await fetch(`${picture.src}?language=${language()}`)).text();
    picture.replaceWith(why);
  };

  // A link to a passage opens it in a dialog; answers, sources and search results all have such links.
  const showPassage = async (address) => {
    let dialog = document.querySelector("#passage-dialog");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "passage-dialog";
      dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
      (document.querySelector(".gradio-container") ?? document.body).append(dialog);
    }
    const response = await fetch(`${address}?language=${language()}`);
    const content = document.createElement("div");
    content.innerHTML = await response.text();
    content.querySelectorAll("img.page").forEach((picture) => {
      picture.addEventListener("load", () => picture.classList.add("loaded"));
      picture.addEventListener("error", () => sayWhy(picture));
    });
    const close = document.createElement("button");
    close.className = "close";
    close.textContent = "×";
    close.setAttribute("aria-label", language() === "zh" ? "关闭" : "Close");
    close.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(close, content);
    if (!dialog.open) dialog.showModal();
    const image = content.querySelector("img.page");
    if (!image) content.querySelector("#passage")?.scrollIntoView({ block: "center" });
    image?.addEventListener("load", () => {
      const top = Number(image.dataset.top) * PIXELS_PER_POINT * image.clientHeight / image.naturalHeight;
      dialog.scrollTop = image.offsetTop + top - dialog.clientHeight / 3;
    });
  };
  addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='/library/passage/'], a[href='#no-source']");
    if (!link) return;
    event.preventDefault();
    event.stopPropagation();
    if (link.getAttribute("href") !== "#no-source") showPassage(link.getAttribute("href"));
  }, true);

  return { dropZone, dropped, documents, show: showPassage };
})();
