// Runs before the page is drawn: the theme of before, the keys of the chat, and a question that comes too early.
(() => {
  const saved = localStorage.getItem("astrai-theme");
  const dark = saved ? saved === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const apply = () => document.body.classList.toggle("dark", dark);
  document.body ? apply() : addEventListener("DOMContentLoaded", apply);

  const DRAWN_MS = 60, DRAWER_MS = 200; // until Gradio has put a field there, and until the drawer has come

  const find = (selector) => document.querySelector(selector);
  const isShown = (element) => element !== null && element.getClientRects().length > 0;
  const isTyped = (element) => element.matches?.("input, textarea, select, [contenteditable='true']");

  const stop = () => {
    const button = find("#composer .stop-button");
    button?.click();
    return button !== null;
  };
  const search = () => {
    const field = find("#conversation-search input, #conversation-search textarea");
    if (field === null || !isShown(find("#chat-tab"))) return false;
    const isAway = getComputedStyle(field).visibility === "hidden"; // in the drawer of a phone
    if (isAway) find("#sidebar-toggle")?.click();
    setTimeout(() => { field.focus(); field.select(); }, isAway ? DRAWER_MS : 0);
    return true;
  };
  // The pen of the last question is the last button below it.
  const editLast = (event) => {
    if (!event.target.matches?.("#composer textarea") || event.target.value) return false;
    const below = [...document.querySelectorAll("#conversation .message-buttons-right")].at(-1);
    const pen = [...below?.querySelectorAll("button") ?? []].at(-1);
    pen?.click();
    setTimeout(() => find("#conversation .user-row textarea, #conversation .user textarea")?.focus(), DRAWN_MS);
    return pen !== undefined;
  };
  const help = (event) => {
    if (isTyped(event.target) && !(event.target.matches("#composer textarea") && !event.target.value)) return false;
    find("#keys-dialog")?.showModal();
    return true;
  };

  const keyed = (event) => {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (event.key === "Escape" && isPlain) return find("dialog[open]") === null && stop();
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) return search();
    if (event.key === "ArrowUp" && isPlain && !event.shiftKey) return editLast(event);
    return event.key === "?" && isPlain && isShown(find("#chat-tab")) && help(event);
  };
  // A question waits until the conversation that was opened is shown, the one before it is taken, and the answer has
  // ended. It is sent then, unless it was edited or another conversation was opened.
  let isOpen = false, sent = null, waiting = null;
  const field = () => find("#composer textarea");
  const opened = () => sessionStorage.getItem("astrai-opened");
  const isReady = () => isOpen && sent === null && find("#composer .stop-button") === null;
  const hold = (question) => {
    waiting = question;
    const note = find("#composer-waits p");
    if (note) note.textContent = question === null || !isOpen ? "" : note.dataset.text;
  };
  const sendWaiting = () => {
    if (waiting === null || !isReady()) return;
    const isSame = waiting.text === field().value && (waiting.opened === null || waiting.opened === opened());
    hold(null);
    if (isSame) find("#composer .submit-button")?.click();
  };
  const sends = (event) => {
    if (isReady()) {
      hold(null);
      if (field().value.trim()) sent = field().value;
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    if (field().value.trim()) hold({ text: field().value, opened: isOpen && sent === null ? opened() : null });
  };
  window.astraiComposer = {
    // What stood in the field when it was sent: Gradio reads it a moment later, when more may have been typed.
    text: (typed) => sent ?? typed,
    leaves() {
      isOpen = false; // until "astrai-open" tells that the server has opened another one
    },
    taken() {
      if (sent !== null && field().value.startsWith(sent)) {
        if (waiting !== null) waiting = { text: waiting.text.slice(sent.length), opened: opened() };
        field().value = field().value.slice(sent.length);
        field().dispatchEvent(new Event("input", { bubbles: true }));
      }
      setTimeout(astraiComposer.refused, DRAWN_MS);
    },
    refused() {
      sent = null;
      sendWaiting();
    },
  };
  addEventListener("astrai-open", () => {
    isOpen = true;
    sendWaiting();
  });
  addEventListener("astrai-open", () => {
    new MutationObserver(sendWaiting).observe(find("#composer"), { childList: true, subtree: true });
  }, { once: true });
  addEventListener("input", (event) => {
    if (waiting !== null && event.target === field() && field().value !== waiting.text) hold(null);
  });

  addEventListener("keydown", (event) => {
    // While an input method composes Chinese, keys choose words: none of them is ours, and Enter must not send.
    if (event.isComposing || event.keyCode === 229) event.stopImmediatePropagation();
    else if (event.key === "Enter" && !event.shiftKey && event.target.matches?.("#composer textarea")) sends(event);
    else if (keyed(event)) event.preventDefault();
  }, true);
  addEventListener("click", (event) => {
    if (event.target.closest?.("#composer .submit-button")) sends(event);
    else if (event.target.closest?.("#new-chat, #sidebar-new, #temporary input")) astraiComposer.leaves();
  }, true);
  addEventListener("click", (event) => {
    if (event.target.closest?.("#keys")) find("#keys-dialog").showModal();
  });
})();
