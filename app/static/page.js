// Runs before the page is drawn: the theme of before, and keys that a text box alone gets wrong.
(() => {
  const saved = localStorage.getItem("astrai-theme");
  const dark = saved ? saved === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const apply = () => document.body.classList.toggle("dark", dark);
  document.body ? apply() : addEventListener("DOMContentLoaded", apply);

  // While an input method composes Chinese, Enter chooses a word: it must not send.
  addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) event.stopImmediatePropagation();
    else if (event.key === "Escape") document.querySelector("#composer .stop-button")?.click();
  }, true);
})();
