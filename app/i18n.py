"""Every text of the page, in English and Chinese. Errors have theirs in `app.error_texts`."""

from starlette.requests import Request

from app.archive_texts import ARCHIVE_TEXTS
from app.chatpage_texts import CHATPAGE_TEXTS
from app.conversation_texts import CONVERSATION_TEXTS
from app.figure_texts import FIGURE_TEXTS
from app.guard_texts import GUARD_TEXTS
from app.library_texts import LIBRARY_TEXTS
from app.models_texts import MODELS_TEXTS
from app.studio_texts import STUDIO_TEXTS

ENGLISH, CHINESE = "en", "zh"
LANGUAGES = {ENGLISH: "English", CHINESE: "中文"}

OF_PAGES = (
    ARCHIVE_TEXTS | LIBRARY_TEXTS | STUDIO_TEXTS | MODELS_TEXTS | GUARD_TEXTS | CONVERSATION_TEXTS | CHATPAGE_TEXTS
    | FIGURE_TEXTS
)  # fmt: skip
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
        "en": "Building fast code for this processor: {seconds:.0f} s (usually about 20), the first time only …",
        "zh": "正在为此处理器生成高速代码：已用 {seconds:.0f} 秒（通常约 20 秒），仅首次需要 …",
    },
    "ready": {
        "en": "{name} · {parameters} parameters · {quantization} · ready",
        "zh": "{name} · {parameters} 参数 · {quantization} · 就绪",
    },
    "stats": {
        "en": "{speed:.0f} tokens/s · first after {first:.2f} s · {count} tokens"
        " · {context} of {limit} tokens of context",
        "zh": "{speed:.0f} 词元/秒 · 首词 {first:.2f} 秒 · 回答 {count} 词元 · 上下文 {context} / {limit} 词元",
    },
    "stopped": {"en": "stopped", "zh": "已停止"},
    "cut": {"en": "cut at the longest answer", "zh": "已达最长回答"},
    "full": {"en": "the context is full", "zh": "上下文已满"},
    "welcome_starter": {
        "en": (
            "## How can I help?\n\nThis is the **starter**, a very small model that ships with AstrAI to show how it"
            " works. It can greet you and say who it is; most else is invented or wrong."
            " For real work, get a larger model on the tab Models."
        ),
        "zh": (
            "## 有什么可以帮您？\n\n这是随 AstrAI 附带的**入门模型**，非常小，只用来展示程序如何工作。"
            "它会打招呼、介绍自己，其余的回答多半是编造的或错误的：真正的工作请到“模型”页获取更大的模型。"
        ),
    },
    "not_quantized": {"en": "not quantised", "zh": "未量化"},
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
    "version_better": {"en": "This version is the best", "zh": "这个版本最好"},
    "pick_kept": {
        "en": "Kept. New pairs for the studio to learn from: {count}.",
        "zh": "已保存：{count} 对新的偏好，可在训练室使用。",
    },
    "correction_kept": {
        "en": "Kept: your wording is better than the model's.",
        "zh": "已保存：您的改写优于模型的回答。",
    },
    "not_rated": {
        "en": "Only answers that the model gave by itself are kept, not notices or answers from documents.",
        "zh": "只保存模型自己给出的回答，不保存提示或根据文档的回答。",
    },
    "blind_title": {"en": "Compare versions blind", "zh": "盲测对比两个版本"},
    "blind_intro": {
        "en": "**{new}** was made from your pairs. Ask something: it and **{old}** answer side by side, in an order"
        " that is drawn anew each time. Your votes decide.",
        "zh": "**{new}** 由您的偏好训练而成。提个问题：它与 **{old}** 并排作答，左右顺序每次随机，由您投票决定。",
    },
    "version_base": {"en": "the model itself", "zh": "原模型"},
    "blind_empty": {
        "en": "One of them answered nothing, so there is nothing to compare. Ask again, or something else.",
        "zh": "有一方没有作答，无法比较。请再问一次，或换个问题。",
    },
    "blind_ask": {"en": "Ask both", "zh": "同时提问"},
    "vote_left": {"en": "← Left is better", "zh": "← 左边更好"},
    "vote_tie": {"en": "Equal", "zh": "一样"},
    "vote_right": {"en": "Right is better →", "zh": "右边更好 →"},
    "tally": {
        "en": "New {new} · old {old} · equal {ties}; n = {count}. The new one's share: {share:.0%}"
        " (95 % interval {low:.0%} – {high:.0%}).",
        "zh": "新版 {new} · 旧版 {old} · 平 {ties}；n = {count}。"
        "新版得票率 {share:.0%}（95% 区间 {low:.0%}–{high:.0%}）。",
    },
    "tally_none": {"en": "No votes yet.", "zh": "还没有投票。"},
    "tally_few": {
        "en": "Too few to tell: {missing} more votes are needed.",
        "zh": "票数太少，尚无定论：还需 {missing} 票。",
    },
    "tally_new": {"en": "The new version is better.", "zh": "新版本更好。"},
    "tally_old": {"en": "The old version is better.", "zh": "旧版本更好。"},
    "tally_open": {"en": "No difference is shown yet.", "zh": "尚未显示出差别。"},
    "adopt": {"en": "Use the new version", "zh": "使用新版本"},
    "roll_back": {"en": "Roll back", "zh": "回退"},
    "version_now": {"en": "From now on answers: {name}.", "zh": "现在起由它作答：{name}。"},
    "tab_chat": {"en": "Chat", "zh": "对话"},
    "tab_library": {"en": "Library", "zh": "资料库"},
    "sources": {"en": "📄 Sources", "zh": "📄 来源"},
    "ask_in": {"en": "Answer from documents", "zh": "根据文档回答"},
    "searching": {"en": "Searching your documents …", "zh": "正在检索文档……"},
    "quoted": {
        "en": "**From your documents.** No model that can read documents is loaded, so these sentences come nearest:",
        "zh": "**摘自您的文档。** 当前没有加载能够阅读文档的模型，以下是最接近问题的原句：",
    },
    "not_found": {"en": "**Not in your documents** ({collections}).", "zh": "**文档中没有答案**（{collections}）。"},
    "nearest": {"en": "These passages come nearest:", "zh": "最接近的段落："},
    "ask_alone": {"en": "Answer without documents", "zh": "不用文档回答"},
    "alone": {
        "en": "By the model alone: nothing in this answer comes from your documents.",
        "zh": "仅由模型回答：以下内容并非来自您的文档。",
    },
    "files_alone": {
        "en": "From the attached files alone: the documents do not answer this.",
        "zh": "仅依据所附文件：文档中没有答案。",
    },
    "files_unread": {
        "en": "From the attached files alone: no model that can read documents is loaded.",
        "zh": "仅依据所附文件：当前没有加载能够阅读文档的模型。",
    },
    "supported": {"en": "{count} of {total} sentences have a source", "zh": "{total} 句中有 {count} 句有出处"},
    "no_source": {"en": "no source", "zh": "无出处"},
    "page": {"en": "page {page}", "zh": "第 {page} 页"},
    "score": {"en": "score {score}", "zh": "得分 {score}"},
    "why": {"en": "Why was this found?", "zh": "为什么找到它？"},
    "why_terms": {
        "en": "{coverage} % of the question's telling words stand here; its meaning is {deviations} deviations nearer"
        " than that of passages at large.",
        "zh": "问题中有区分度的词有 {coverage} % 出现在这里；语义比一般段落接近 {deviations} 个标准差。",
    },
    "leg_keyword": {"en": "By words", "zh": "按词语"},
    "leg_dense": {"en": "By meaning", "zh": "按语义"},
    "leg_rank": {"en": "rank {rank}", "zh": "第 {rank} 名"},
    "leg_absent": {"en": "not among the first", "zh": "未进入候选"},
    "drop_here": {"en": "Drop files or folders here", "zh": "把文件或文件夹拖到这里"},
    "pick_files": {"en": "Choose files", "zh": "选择文件"},
    "pick_folder": {"en": "Choose a folder", "zh": "选择文件夹"},
    "drop_hint": {
        "en": "PDF, Word, PowerPoint, Excel, EPUB, HTML, Markdown, text, code. A copy stays on this computer.",
        "zh": "PDF、Word、PowerPoint、Excel、EPUB、HTML、Markdown、文本、代码。副本只保存在本机。",
    },
    "copying": {"en": "Copying {done} of {total} …", "zh": "正在复制 {done} / {total} ……"},
    "copy_failed": {"en": "Not copied: {names}", "zh": "未能复制：{names}"},
    "target": {"en": "Collection for new documents", "zh": "新文档放入的资料集"},
    "path": {"en": "Or a file or folder of this computer", "zh": "或本机的文件、文件夹路径"},
    "path_example": {"en": "~/Documents/contracts", "zh": "~/文档/合同"},
    "add_path": {"en": "Add", "zh": "添加"},
    "watch_path": {"en": "Add and follow", "zh": "添加并跟踪"},
    "cancel_work": {"en": "Cancel", "zh": "取消"},
    "search_library": {"en": "Search the library", "zh": "搜索资料库"},
    "scope_kinds": {"en": "Kinds of file", "zh": "文件类型"},
    "scope_folder": {"en": "Folder or file", "zh": "文件夹或文件"},
    "scope_since": {"en": "Modified in the last days, or since a date", "zh": "最近几天内修改，或自某日期起"},
    "any_folder": {"en": "Any folder", "zh": "任何文件夹"},
    "any_kind": {"en": "Any kind", "zh": "任何类型"},
    "any_time": {"en": "Any time", "zh": "任何时间"},
    "last_days": {"en": "Last {count} days", "zh": "最近 {count} 天"},
    "all_collections": {"en": "All collections · {count}", "zh": "全部资料集 · {count}"},
    "destination": {"en": "Collection", "zh": "资料集"},
    "move_chosen": {"en": "Move to ›", "zh": "移到 ›"},
    "remove_chosen": {"en": "Remove", "zh": "移除"},
    "watched_folders": {"en": "Followed folders", "zh": "跟踪的文件夹"},
    "stop_watching": {"en": "Stop following", "zh": "停止跟踪"},
    "forget_collection": {"en": "Delete empty collection", "zh": "删除空资料集"},
    "embedders": {"en": "How meaning is compared", "zh": "语义比较所用的模型"},
    "embedder_now": {
        "en": "Search by meaning uses {name}. Any sentence-transformers model with safetensors weights can take its"
        " place; searches go on with the old vectors until all new ones are made.",
        "zh": "语义检索使用 {name}。可换成任何以 safetensors 存储权重的 sentence-transformers 模型；"
        "新向量全部生成之前，检索继续使用旧向量。",
    },
    "embedder_field": {"en": "Folder of a model, or owner/name", "zh": "模型文件夹，或 owner/name"},
    "embedder_use": {"en": "Use this one", "zh": "使用此模型"},
    "embedder_own": {"en": "Use AstrAI's own", "zh": "使用 AstrAI 自带的模型"},
    "embedder_loading": {"en": "Loading the embedder {name} …", "zh": "正在加载嵌入模型 {name} ……"},
    "embedding": {
        "en": "{name}: {done:,} of {total:,} passages · {rate:.0f} passages/s",
        "zh": "{name}：{done:,} / {total:,} 个段落 · {rate:.0f} 段/秒",
    },
    "embedder_changed": {"en": "Search by meaning now uses {name}.", "zh": "语义检索现在使用 {name}。"},
    "embedder_kept": {"en": "Cancelled; the embedder of before stays.", "zh": "已取消，仍使用原来的嵌入模型。"},
    "nothing_found": {"en": "Nothing was found.", "zh": "没有找到结果。"},
    "no_passages": {"en": "This document has no passages.", "zh": "此文档没有段落。"},
    "passages_of": {"en": "Passages: {shown} of {count}", "zh": "段落：{shown} / {count}"},
    "rows": {"en": "{first}–{last} of {count}", "zh": "第 {first}–{last} 个，共 {count} 个"},
    "no_documents": {"en": "There are no documents yet.", "zh": "还没有文档。"},
    "choose_all": {"en": "Choose all", "zh": "全选"},
    "document": {"en": "Document", "zh": "文档"},
    "state": {"en": "State", "zh": "状态"},
    "collection": {"en": "Collection", "zh": "资料集"},
    "size": {"en": "Size", "zh": "大小"},
    "passages": {"en": "Passages", "zh": "段落"},
    "state_ready": {"en": "ready", "zh": "就绪"},
    "state_failed": {"en": "not read", "zh": "未读取"},
    "work_begins": {"en": "Looking at the files …", "zh": "正在查看文件……"},
    "rate": {"en": "{done} of {total} files · {rate:.1f} files/s", "zh": "{done} / {total} 个文件 · {rate:.1f} 个/秒"},
    "eta": {"en": " · {time} left", "zh": " · 剩余 {time}"},
    "work_done": {"en": "{counts} in {seconds:.1f} s.", "zh": "{counts}，用时 {seconds:.1f} 秒。"},
    "work_stopped": {"en": "Cancelled after {seconds:.1f} s: {counts}.", "zh": "{seconds:.1f} 秒后取消：{counts}。"},
    "outcome_added": {"en": "{count} added", "zh": "新增 {count} 个"},
    "outcome_updated": {"en": "{count} updated", "zh": "更新 {count} 个"},
    "outcome_renamed": {"en": "{count} renamed", "zh": "改名 {count} 个"},
    "outcome_removed": {"en": "{count} removed", "zh": "移除 {count} 个"},
    "outcome_unchanged": {"en": "{count} unchanged", "zh": "未变 {count} 个"},
    "outcome_failed": {"en": "{count} not read", "zh": "未读取 {count} 个"},
    "failures": {"en": "What could not be read", "zh": "未能读取的文件"},
    "as_text": {"en": "As text", "zh": "查看文字"},
} | OF_PAGES


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


def asked_language(request: Request) -> str:
    """The language that a request of the page names, else the one that its browser asks for."""
    asked = request.query_params.get("language", "")
    return asked if asked in LANGUAGES else preferred_language(request.headers.get("accept-language", ""))
