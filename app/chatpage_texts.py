"""The texts of what stands around the conversation, in English and Chinese; `app.i18n` has them with all others."""

CHATPAGE_TEXTS: dict[str, dict[str, str]] = {
    # A link that leads outside
    "outside_title": {"en": "Open this address?", "zh": "要打开这个地址吗？"},
    "outside_why": {
        "en": "The link was written by a model or stands in a document. Its whole address is:",
        "zh": "此链接由模型写出，或来自文档。完整地址是：",
    },
    "outside_open": {"en": "Open in a new tab", "zh": "在新标签页中打开"},
    "cancel_dialog": {"en": "Cancel", "zh": "取消"},
    # A question that was sent while an answer is made
    "composer_waits": {
        "en": "This is sent when the answer has ended. Esc stops the answer; editing keeps it here.",
        "zh": "回答结束后会自动发送。按 Esc 停止回答；继续修改则先不发送。",
    },
    # Keys
    "keys_title": {"en": "Keys", "zh": "快捷键"},
    "keys_close": {"en": "Close", "zh": "关闭"},
    "key_enter": {"en": "Send the message", "zh": "发送消息"},
    "key_shift_enter": {"en": "New line", "zh": "换行"},
    "key_escape": {"en": "Stop the answer", "zh": "停止回答"},
    "key_search": {"en": "Search the conversations", "zh": "搜索对话"},
    "key_up": {"en": "In an empty box: edit the last message", "zh": "输入框为空时：编辑上一条消息"},
    "key_help": {"en": "This list", "zh": "显示此列表"},
    # Context
    "meter": {"en": "{share:.0%} of the context is used", "zh": "上下文已用 {share:.0%}"},
    "dropped_one": {
        "en": "The context was too small: the model did not see the oldest message, “{first}”.",
        "zh": "上下文放不下：模型没有看到最早的一条消息“{first}”。",
    },
    "dropped_turns": {
        "en": "The context was too small: the model did not see the {count} oldest messages,"
        " from “{first}” to “{last}”.",
        "zh": "上下文放不下：模型没有看到最早的 {count} 条消息（从“{first}”到“{last}”）。",
    },
    "seen_title": {"en": "What the model saw", "zh": "模型看到的内容"},
    "seen_prompt": {"en": "The prompt, {count} characters", "zh": "提示词（{count} 个字符）"},
    "seen_passages": {"en": "Passages: {count}", "zh": "段落：{count}"},
    "seen_dropped": {"en": "Messages that were left out: {count}", "zh": "被略去的消息：{count}"},
    "seen_version": {"en": "Version", "zh": "版本"},
    "seen_fingerprint": {"en": "Fingerprint of the weights", "zh": "权重指纹"},
    "seen_sampling": {"en": "Sampling", "zh": "采样参数"},
    # Personas
    "persona": {"en": "Persona", "zh": "角色"},
    "persona_none": {"en": "No persona", "zh": "不用角色"},
    "persona_edit": {"en": "Edit personas", "zh": "编辑角色"},
    "persona_name": {"en": "Name", "zh": "名称"},
    "persona_system": {"en": "System prompt: what it is told before everything else", "zh": "系统提示：最先告诉它的话"},
    "persona_hint": {
        "en": "Saving keeps the answer settings and the collections as they are chosen now.",
        "zh": "保存时会一并记下当前的回答设置和资料集。",
    },
    "persona_built_in": {
        "en": "This one is built in. Copy it to change it.",
        "zh": "这是内置角色。要修改请先复制。",
    },
    "persona_save": {"en": "Save", "zh": "保存"},
    "persona_new": {"en": "Save as new", "zh": "另存为新角色"},
    "persona_duplicate": {"en": "Copy", "zh": "复制"},
    "persona_delete": {"en": "Delete", "zh": "删除"},
    "persona_saved": {"en": "Kept: {name}", "zh": "已保存：{name}"},
    "persona_copy": {"en": "{name} (copy)", "zh": "{name}（副本）"},
    "persona_translator": {"en": "Translator", "zh": "翻译"},
    "persona_translator_system": {
        "en": "You are a translator. Translate Chinese into English and every other language into Chinese. Keep names,"
        " numbers and formatting. Give the translation alone.",
        "zh": "你是一名翻译。把中文译成英文，把其他语言译成中文。保留人名、数字和格式，只给出译文。",
    },
    "persona_editor": {"en": "Editor", "zh": "编辑"},
    "persona_editor_system": {
        "en": "You are an editor. Improve the user's text: correct mistakes, shorten, make it clear, and keep its"
        " meaning and language. Give the improved text first, then what you changed, in a short list.",
        "zh": "你是一名编辑。改进用户的文字：改正错误、精简、写清楚，不改变原意和语言。"
        "先给出改好的文字，再用简短列表说明改动。",
    },
    "persona_teacher": {"en": "Patient teacher", "zh": "耐心的老师"},
    "persona_teacher_system": {
        "en": "You are a patient teacher. Explain step by step in plain words with one small example, say what you are"
        " not sure of, and end with one question that checks whether it was understood.",
        "zh": "你是一位耐心的老师。用浅显的话一步步讲解，举一个小例子；不确定的地方要说明，"
        "最后用一个问题检查对方是否听懂。",
    },
    # Sampling
    "top_k": {"en": "Top-k: only so many likeliest words; 0 is all", "zh": "Top-k：只取最可能的若干个词；0 为全部"},
    "repetition_penalty": {
        "en": "Repetition penalty: above 1 words that were said become rarer",
        "zh": "重复惩罚：大于 1 时，说过的词更少出现",
    },
    "more_sampling": {"en": "More", "zh": "更多"},
    "min_p": {"en": "Min-p: words below this share of the likeliest one go", "zh": "Min-p：去掉低于最可能词此比例的词"},
    "presence_penalty": {"en": "Presence penalty", "zh": "存在惩罚"},
    "frequency_penalty": {"en": "Frequency penalty", "zh": "频率惩罚"},
    "stop_strings": {"en": "Stop before one of these, one a line", "zh": "遇到以下文字之一即停止，每行一个"},
    "reset_sampling": {"en": "As it was at first", "zh": "恢复默认"},
    # Attached files
    "attach": {"en": "Attach files", "zh": "添加附件"},
    "attach_hint": {
        "en": "PDF, Word, PowerPoint, Excel, text, code: up to {count} files of {size} MB and {characters:,} characters"
        " each. A short one is given to the model whole, a long one is searched.",
        "zh": "PDF、Word、PowerPoint、Excel、文本、代码：最多 {count} 个文件，"
        "每个不超过 {size} MB、{characters:,} 个字符。短文件全文交给模型，长文件按问题检索。",
    },
    "attach_too_large": {
        "en": "{name} has {size} MB, over {most} MB. Add it to the library, which takes larger files by their path.",
        "zh": "{name} 有 {size} MB，超过 {most} MB。请加入资料库：资料库可按路径添加更大的文件。",
    },
    "attaching": {"en": "Reading {name} …", "zh": "正在读取 {name} ……"},
    "attach_remove": {"en": "Remove {name}", "zh": "移除 {name}"},
    "attached_chars": {"en": "{count:,} characters", "zh": "{count:,} 个字符"},
    "attached_whole": {"en": "📎 {name}: the whole text was given", "zh": "📎 {name}：已提供全文"},
    "attached_passages": {
        "en": "📎 {name}: long, so the best of its {count} passages were given",
        "zh": "📎 {name}：文件较长，从 {count} 个段落中选取了最相关的部分",
    },
}
