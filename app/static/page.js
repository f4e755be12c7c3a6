// Runs before the page is drawn: the theme of before, and the keys of the chat.
(() => {
  const saved = localStorage.getItem("astrai-theme");
  const dark = saved ? saved === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const apply = () => document.body.classList.toggle("dark", dark);
  document.body ? apply() : addEventListener("DOMContentLoaded", apply);

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
    if (getComputedStyle(field).visibility === "hidden") find("#sidebar-toggle")?.click(); // the drawer of a phone
    field.focus();
    field.select();
    return true;
  };
  // The pen of the last question, as a click would press it.
  const editLast = (event) => {
    if (!event.target.matches?.("#composer textarea") || event.target.value) return false;
    const pen = [...document.querySelectorAll("#conversation .user-row")].at(-1)?.querySelector("button:has(svg)");
    const named = [...document.querySelectorAll("#conversation .user-row button")].filter((button) => /edit|编辑/i.test(button.title || button.ariaLabel || ""));
    const button = named.at(-1) ?? pen;
    if (!button) return false;
    button.click();
    requestAnimationFrame(() => find("#conversation .user-row textarea")?.focus());
    return true;
  };
  const help = (event) => {
    if (isTyped(event.target) && !(event.target.matches("#composer textarea") && !event.target.value)) return false;
    find("#keys-dialog")?.showModal();
    return true;
  };

  const keyed = (event) => {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (event.key === "Escape" && isPlain) return document.querySelector("dialog[open]") === null && stop() && false;
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) return search();
    if (event.key === "ArrowUp" && isPlain && !event.shiftKey) return editLast(event);
    return event.key === "?" && isPlain && isShown(find("#chat-tab")) && help(event);
  };
  addEventListener("keydown", (event) => {
    // While an input method composes Chinese, keys choose words: none of them is ours, and Enter must not send.
    if (event.isComposing || event.keyCode === 229) event.stopImmediatePropagation();
    else if (keyed(event)) event.preventDefault();
  }, true);
  addEventListener("click", (event) => {
    if (event.target.closest?.("#keys")) find("#keys-dialog").showModal();
  });
})();
