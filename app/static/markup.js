// The last gate before text of a model, a user or a document is shown. Gradio turns Markdown into nodes in the browser
// and takes scripts out of them; what would fetch, lead away or pose as a part of the page is still there. Here the
// finished nodes, formulas among them, pass an allow-list while they are in a document that loads nothing.
// docs/decisions/0014-markup-is-cleaned-in-the-browser.md tells why here.
(() => {
  const words = (text) => new Set(text.split(" "));
  const XHTML = "http://www.w3.org/1999/xhtml";
  const ELEMENTS = {
    [XHTML]: words(
      "a abbr b blockquote br button caption code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img input ins kbd"
      + " li mark ol p pre q rp rt ruby s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var",
    ),
    "http://www.w3.org/2000/svg": words("svg g path line rect"),
    "http://www.w3.org/1998/Math/MathML": words(
      "math annotation menclose mfrac mi mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle msub msubsup"
      + " msup mtable mtd mtext mtr munder munderover semantics",
    ),
  };
  const ATTRIBUTES = words(
    "align aria-hidden colspan dir lang open rowspan start title" // of text and tables
    + " d fill height preserveAspectRatio stroke stroke-width viewBox width x1 x2 y1 y2" // of drawn parts of formulas
    + " columnalign display displaystyle fence linethickness lspace mathvariant maxsize minsize rspace scriptlevel"
    + " stretchy voffset",
  );
  const OWN_ADDRESS = /^(\/library\/passage\/\d+\/\d+\/\d+|#no-source)$/;
  const PICTURE = /^data:image\/(png|jpeg|webp);base64,[a-z0-9+/=\s]*$/i;
  const MAX_PICTURE_CHARS = 2_000_000;
  const SCHEMES = words("http: https: mailto:");
  const FORMULA = ".katex, .katex-display, .katex-error", CODE = ".code_wrap, pre, code";
  // Lengths and colours that KaTeX writes; position, content and all that takes an address are not among them.
  const STYLES = words(
    "background-color border-bottom-width border-color border-right-style border-right-width border-style"
    + " border-top-width border-width bottom color height left margin-left margin-right margin-top min-width"
    + " padding-left padding-right padding-top top vertical-align width",
  );

  // The address as the browser would ask for it, if it is one that can be offered.
  const outside = (text) => {
    try {
      const address = new URL(text);
      return SCHEMES.has(address.protocol) ? address.href : null;
    } catch { return null; }
  };

  const offer = (element, address) => {
    element.className = "outside";
    element.dataset.address = address;
    element.setAttribute("role", "link");
    element.tabIndex = 0;
  };

  const link = (element, href) => {
    if (OWN_ADDRESS.test(href)) { element.setAttribute("href", href); return; }
    const address = outside(href);
    if (address) offer(element, address);
  };

  const picture = (element, source) => {
    if (PICTURE.test(source) && source.length <= MAX_PICTURE_CHARS) { element.setAttribute("src", source); return; }
    const address = outside(source);
    const named = document.createElement(address ? "a" : "span");
    named.textContent = `🖼 ${element.getAttribute("alt") || address || ""}`.trimEnd();
    if (address) offer(named, address);
    element.replaceWith(named);
  };

  const style = (element) => {
    const kept = [...element.style]
      .filter((name) => STYLES.has(name) && !element.style.getPropertyValue(name).includes("("))
      .map((name) => `${name}:${element.style.getPropertyValue(name)}`);
    element.removeAttribute("style");
    if (kept.length) element.setAttribute("style", kept.join(";"));
  };

  const keep = (element) => {
    const { href, src, alt } = Object.fromEntries(["href", "src", "alt"].map((name) => [name, element.getAttribute(name) ?? ""]));
    const isFormula = element.closest(FORMULA) !== null;
    const isCode = element.closest(CODE) !== null;
    const isMarked = isFormula || isCode || element.classList.contains("latex-block");
    if (element.hasAttribute("style")) isFormula ? style(element) : element.removeAttribute("style");
    for (const { name, value } of [...element.attributes]) {
      const isKept = ATTRIBUTES.has(name) ? !value.includes("url(") : (name === "class" && isMarked) || (name === "style" && isFormula);
      if (!isKept) element.removeAttributeNode(element.getAttributeNode(name));
    }
    if (element.localName === "a") link(element, href);
    if (element.localName === "img") {
      element.setAttribute("alt", alt);
      picture(element, src);
    }
  };

  // A drawing in Mermaid's language, which Gradio would make with whatever it loads: its words are shown instead.
  const drawing = (element) => {
    const [pre, code] = ["pre", "code"].map((name) => document.createElement(name));
    code.textContent = element.textContent;
    pre.append(code);
    element.replaceWith(pre);
  };

  const clean = (parent) => {
    for (const child of [...parent.childNodes]) {
      if (child.nodeType === Node.COMMENT_NODE) child.remove();
      if (child.nodeType !== Node.ELEMENT_NODE) continue;
      const { localName: name, namespaceURI: space } = child;
      const isPlaced = name === "button" ? parent.classList?.contains("code_wrap")
        : name !== "svg" || parent.closest?.(`${FORMULA}, ${CODE}`);
      if (name === "input") child.replaceWith(child.type !== "checkbox" ? "" : child.hasAttribute("checked") ? "☑ " : "☐ ");
      else if (child.classList.contains("mermaid")) drawing(child);
      else if (ELEMENTS[space]?.has(name) && isPlaced) {
        clean(child);
        keep(child);
      } else if (space !== XHTML) child.remove();
      else {
        clean(child);
        child.replaceWith(...child.childNodes);
      }
    }
  };

  // Gradio's Markdown collects its finished parts with this call, and with nothing else that is inert.
  const append = DocumentFragment.prototype.append;
  DocumentFragment.prototype.append = function (...nodes) {
    for (const node of nodes) {
      if (node.nodeType === Node.DOCUMENT_FRAGMENT_NODE && node.ownerDocument !== document) clean(node);
    }
    return append.apply(this, nodes);
  };

  // A link leads nowhere by itself: its whole address is shown first, and opened only when that is wished.
  const ask = (element) => {
    const dialog = document.querySelector("#outside-dialog");
    dialog.querySelector("code").textContent = element.dataset.address;
    dialog.returnValue = "";
    dialog.onclose = () => {
      if (dialog.returnValue === "open") window.open(element.dataset.address, "_blank", "noopener,noreferrer");
    };
    dialog.showModal();
  };
  addEventListener("click", (event) => {
    const element = event.target.closest?.("[data-address].outside");
    if (element) ask(element);
  });
  // An answer on its way is drawn anew, and moves, while its reader presses: what was pressed counts, not what stands
  // under the pointer when it is let go.
  const LINKS = "a[href], [data-address].outside";
  const target = (link) => link.dataset.address ?? link.getAttribute("href");
  const STILL = 5; // pixels that a hand moves in a click
  let pressed = null;
  addEventListener("pointerdown", (event) => {
    const link = event.button === 0 && event.target.closest?.(`#conversation :is(${LINKS})`);
    pressed = link && { link, x: event.clientX, y: event.clientY };
  }, true);
  addEventListener("pointerup", (event) => {
    if (!pressed || pressed.link.contains(event.target)) return;
    if (Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > STILL) return;
    const { link } = pressed;
    const drawn = link.isConnected ? [link] : [...document.querySelectorAll(`#conversation :is(${LINKS})`)];
    drawn.findLast((other) => target(other) === target(link))?.click();
  }, true);
  addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches?.("[data-address].outside")) return;
    event.preventDefault(); // or the same key would press the dialog's first button
    ask(event.target);
  });
})();
