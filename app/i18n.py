"""Every text of the page, in English and Chinese. Errors of the engine are shown in English, as they are."""

ENGLISH, CHINESE = "en", "zh"
LANGUAGES = {ENGLISH: "English", CHINESE: "中文"}

TEXTS: dict[str, dict[str, str]] = {
    "model": {"en": "Model", "zh": "模型"},
    "language": {"en": "Language", "zh": "语言"},
    "new_chat": {"en": "New chat", "zh": "新对话"},
    "composer": {"en": "Message AstrAI", "zh": "给 AstrAI 发消息"},
    "sampling": {"en": "Answer settings", "zh": "回答设置"},
    "temperature": {"en": "Temperature: 0 takes the likeliest word", "zh": "温度：0 总取最可能的词"},
    "top_p": {
        "en": "Top-p: the fewest likely words that reach this total",
        "zh": "Top-p：累计概率达到此值的最少几个词",
    },
    "max_new_tokens": {"en": "Longest answer, in tokens", "zh": "最长回答（词元）"},
    "seed": {"en": "Seed: same seed, same answer; empty is random", "zh": "种子：种子相同则回答相同；留空为随机"},
    "loading": {"en": "Loading the model {name} …", "zh": "正在加载模型 {name} …"},
    "compiling": {
        "en": "Building fast code for this processor: {seconds:.0f} of about 20 s, the first time only …",
        "zh": "正在为此处理器生成高速代码：{seconds:.0f} 秒 / 约 20 秒，仅首次需要 …",
    },
    "ready": {
        "en": "{name} · {parameters} parameters · {quantization} · ready",
        "zh": "{name} · {parameters} 参数 · {quantization} · 就绪",
    },
    "stats": {
        "en": "{speed:.0f} tokens/s · first after {first:.2f} s · {context} of {limit} tokens of context",
        "zh": "{speed:.0f} 词元/秒 · 首词 {first:.2f} 秒 · 上下文 {context} / {limit} 词元",
    },
    "stopped": {"en": "stopped", "zh": "已停止"},
    "cut": {"en": "cut at the longest answer", "zh": "已达最长回答"},
    "full": {"en": "the context is full", "zh": "上下文已满"},
    "dropped": {"en": "{count} earlier messages left out", "zh": "略去了较早的 {count} 条消息"},
    "welcome_starter": {
        "en": (
            "## How can I help?\n\nThis is the **starter**, a very small model that ships with AstrAI to show how it"
            " works. It can greet you and say who it is; most else is invented or wrong."
            " Put a larger model into the models folder for real work."
        ),
        "zh": (
            "## 有什么可以帮您？\n\n这是随 AstrAI 附带的**入门模型**，非常小，只用来展示程序如何工作。"
            "它会打招呼、介绍自己，其余的回答多半是编造的或错误的：真正的工作请把更大的模型放进模型文件夹。"
        ),
    },
    "welcome": {"en": "## How can I help?", "zh": "## 有什么可以帮您？"},
    "example_1": {"en": "Hello! Who are you?", "zh": "你好！你是谁？"},
    "example_2": {"en": "Tell me a short story about a cat.", "zh": "讲一个关于小猫的短故事。"},
    "example_3": {"en": "Translate into Chinese: I like this book.", "zh": "翻译成英文：我喜欢这本书。"},
    "example_4": {"en": "How do I cook scrambled eggs?", "zh": "西红柿炒鸡蛋怎么做？"},
    "unexpected": {
        "en": "Something unexpected went wrong. The details are in the log file.",
        "zh": "出现了意外错误，详情见日志文件。",
    },
    "no_model": {
        "en": "There is no model yet. Put a model folder into {folder}, or train one.",
        "zh": "还没有模型。请把模型文件夹放入 {folder}，或训练一个。",
    },
    "locked": {
        "en": "This page opens with the link that AstrAI printed when it started. Start it again for a new link.",
        "zh": "请用 AstrAI 启动时显示的链接打开此页面；重新启动可获得新链接。",
    },
    "opening": {"en": "Opening AstrAI …", "zh": "正在打开 AstrAI …"},
}


def t(key: str, language: str, **values: object) -> str:
    """The text of `key` in a language, with its places filled."""
    text = TEXTS[key][language]
    return text.format(**values) if values else text


def preferred_language(accept_language: str) -> str:
    """Chinese when the browser asks for it before English, by its Accept-Language header."""
    for part in accept_language.lower().split(","):
        tag = part.split(";")[0].strip()
        if tag.startswith("zh"):
            return CHINESE
        if tag.startswith("en"):
            return ENGLISH
    return ENGLISH
