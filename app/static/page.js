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
  // The conversation of before is shown a moment after the composer: a question that comes earlier waits for it.
  let isOpen = false, isWaiting = false;
  const waits = (event) => {
    if (isOpen) return;
    isWaiting = true;
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  addEventListener("astrai-open", () => {
    isOpen = true;
    if (isWaiting) find("#composer .submit-button")?.click();
  });

  addEventListener("keydown", (event) => {
    // While an input method composes Chinese, keys choose words: none of them is ours, and Enter must not send.
    if (event.isComposing || event.keyCode === 229) event.stopImmediatePropagation();
    else if (event.key === "Enter" && !event.shiftKey && event.target.matches?.("#composer textarea")) waits(event);
    else if (keyed(event)) event.preventDefault();
  }, true);
  addEventListener("click", (event) => { if (event.target.closest?.("#composer .submit-button")) waits(event); }, true);
  addEventListener("click", (event) => {
    if (event.target.closest?.("#keys")) find("#keys-dialog").showModal();
  });
})();
