// The list of conversations, and what stands below messages: which version of how many, and that one was interrupted.
const astraiConversations = (() => {
  const valueOf = (element) => JSON.parse(element.querySelector("[data-value]")?.dataset.value ?? "{}");

  const button = (label, text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-label", label);
    made.addEventListener("click", act);
    return made;
  };

  // The chatbot draws its messages anew as it likes, so what belongs below one is put back where it is missing.
  const marks = (element, trigger) => {
    const drawn = (mark, texts) => {
      const line = document.createElement("div");
      line.className = "astrai-mark";
      line.dataset.mark = JSON.stringify(mark);
      if (mark.of) {
        const turn = (by) => () => trigger("input", { message: mark.message, by });
        const place = document.createElement("span");
        place.className = "version-place";
        place.textContent = `${mark.version} / ${mark.of}`;
        line.append(button(texts.previous, "‹", turn(-1)), place, button(texts.next, "›", turn(1)));
      }
      if (mark.seen) {
        const seen = button(texts.seen, `◱ ${texts.seen}`, () => astrai.show(mark.seen));
        seen.className = "seen";
        line.append(seen);
      }
      if (mark.line) {
        const cost = document.createElement("span");
        cost.className = "cost";
        cost.textContent = mark.line;
        line.append(cost);
      }
      if (mark.note) {
        const note = document.createElement("span");
        note.className = "note";
        note.textContent = mark.note;
        line.append(note);
      }
      return line;
    };
    // Gradio has these in English alone.
    const name = (titles) => Object.entries(titles).forEach(([own, said]) => {
      chat.querySelectorAll(`[aria-label="${own}"], [data-own="${own}"]`).forEach((part) => {
        if (part.ariaLabel === said) return;
        part.dataset.own = own;
        part.ariaLabel = said;
        if (part.title) part.title = said;
      });
    });
    // Gradio calls its suggestions a list, which cannot be of buttons, names no message being edited, and gives what
    // scrolls no keys.
    const mend = (texts) => {
      chat.querySelectorAll("#conversation .edit-textarea").forEach((edited) => { edited.ariaLabel = texts.edited ?? ""; });
      chat.querySelector("#conversation .examples")?.setAttribute("role", "group");
      chat.querySelector("#blind-answers")?.setAttribute("tabindex", "0");
    };
    const place = () => {
      const { marks = [], texts = {}, titles = {}, opened } = valueOf(element);
      name(titles);
      mend(texts);
      if (opened !== undefined) sessionStorage.setItem("astrai-opened", opened);
      const rows = document.querySelectorAll("#conversation .message-row:not(.astrai-live)");
      const wanted = new Map(marks.map((mark) => [rows[mark.at], mark]));
      document.querySelectorAll("#conversation .astrai-mark").forEach((line) => {
        const mark = wanted.get(line.parentElement);
        if (mark && line.dataset.mark === JSON.stringify(mark)) wanted.delete(line.parentElement);
        else line.remove();
      });
      wanted.forEach((mark, row) => row?.append(drawn(mark, texts)));
    };
    // While there is an answer on its way it stands at the end of the messages, and stays in sight if the end was.
    const chat = element.closest("#chat"), row = document.createElement("div");
    row.className = "message-row bubble bot-row astrai-live";
    row.innerHTML = '<div class="message bot"><div class="message-content"></div></div>';
    let live = null, wasAtEnd = true, shownWords = "";
    // Gradio makes its components in no fixed order: it may not be there yet.
    const takeLive = () => {
      if (live || !(live = chat.querySelector("#live"))) return;
      row.querySelector(".message-content").append(live);
      new MutationObserver(() => { if (words() !== shownWords) showLive(); }).observe(live, { childList: true, subtree: true, characterData: true });
    };
    // A panel that opens below takes some of the messages' place.
    let sized = null;
    const stay = () => { if (wasAtEnd) sized.scrollTop = sized.scrollHeight; };
    const sizes = new ResizeObserver(stay);
    const showLive = () => {
      const messages = document.querySelector("#conversation .bubble-wrap");
      if (!messages) return;
      if (messages !== sized) { sizes.disconnect(); sizes.observe(sized = messages); }
      shownWords = words();
      if (!shownWords.trim()) row.remove();
      else if (row.parentElement !== messages || row.nextElementSibling) messages.append(row);
      if (row.isConnected) stay();
    };
    // Gradio's hidden clock ticks in there too.
    const words = () => live?.querySelector(".md")?.textContent ?? "";
    chat.addEventListener("scroll", ({ target }) => {
      if (target.closest("#conversation")) wasAtEnd = target.scrollHeight - target.scrollTop - target.clientHeight < 100;
    }, true);
    let isDue = false;
    const soon = () => {
      if (isDue) return;
      isDue = true;
      requestAnimationFrame(() => { isDue = false; takeLive(); place(); showLive(); });
    };
    const watcher = new MutationObserver(soon);
    watcher.observe(element, { childList: true, subtree: true });
    watcher.observe(chat, { childList: true, subtree: true });
    soon();
  };

  // Put a field in the place of an entry's name; Enter takes what is typed, Escape or leaving it nothing.
  const ask = (entry, value, list, done) => {
    const field = document.createElement("input");
    field.value = value;
    if (list) field.setAttribute("list", list);
    const open = entry.querySelector(".open");
    let isOver = false;
    const end = (takes) => {
      if (isOver) return;
      isOver = true;
      field.replaceWith(open);
      if (takes && field.value !== value) done(field.value);
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") end(true);
      else if (event.key === "Escape") { end(false); event.stopPropagation(); }
    });
    field.addEventListener("blur", () => end(false));
    open.replaceWith(field);
    field.focus();
    field.select();
  };

  const list = (element, trigger) => {
    const tell = (act, conversation = "", text = "") => {
      astraiComposer.leaves();
      trigger("input", { act, conversation, text });
    };
    const side = document.querySelector("#sidebar");
    const sideOpens = (isOpen) => side.toggleAttribute("data-open", isOpen);

    element.addEventListener("click", (event) => {
      const pressed = event.target.closest("[data-act]");
      const entry = event.target.closest("[data-id]");
      const menu = event.target.closest(".menu");
      element.querySelectorAll(".menu[open]").forEach((one) => { if (one !== menu) one.open = false; });
      if (!pressed || !entry) return;
      if (menu) menu.open = false;
      const { id, title, folder, message } = entry.dataset;
      if (pressed.dataset.act === "rename") ask(entry, title, "", (text) => tell("rename", id, text));
      else if (pressed.dataset.act === "move") ask(entry, folder, "conversation-folders", (text) => tell("move", id, text));
      else tell(pressed.dataset.act, id, pressed.dataset.act === "open" ? message : "");
      if (pressed.dataset.act === "open") sideOpens(false);
    });

    element.addEventListener("change", async (event) => {
      if (!event.target.matches("input[type=file]")) return;
      const said = [];
      for (const file of event.target.files) {
        const language = document.querySelector("#language input:checked")?.value ?? "";
        const address = `/conversations/import?name=${encodeURIComponent(file.name)}&language=${language}`;
        const headers = { "content-type": "application/octet-stream" };
        const response = await fetch(address, { method: "POST", headers, body: file });
        said.push(await response.text());
      }
      event.target.value = "";
      tell("imported", "", said.join(" "));
    });

    addEventListener("click", (event) => {
      if (event.target.closest("#sidebar-toggle")) sideOpens(!side.hasAttribute("data-open"));
      else if (!event.target.closest("#sidebar") || event.target.closest("#sidebar-new")) sideOpens(false);
    });
  };

  return { marks, list };
})();
