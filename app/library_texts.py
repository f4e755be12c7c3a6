"""Texts of the library's settings, in English and Chinese; `app.i18n` has them with all others."""

LIBRARY_TEXTS: dict[str, dict[str, str]] = {
    # Measuring on the user's own documents
    "measuring": {"en": "How well the search works here", "zh": "检索效果如何"},
    "across_languages": {
        "en": "A question in the documents' language finds the right passage first in 9 of 10 cases (measured on public"
        " question sets). A question in the other language has it among the first five in about 7 of 10.",
        "zh": "用文档的语言提问，十次中约九次排在第一的就是正确段落（在公开问答集上测得）；"
        "用另一种语言提问，十次中约七次正确段落在前五名之内。",
    },
    "measure": {"en": "Measure on my documents", "zh": "用我的文档测量"},
    "measured": {
        "en": "{count} questions were made from your documents.",
        "zh": "用您的文档生成了 {count} 个问题。",
    },
    "measured_nothing": {
        "en": "There is too little text to make questions from.",
        "zh": "文本太少，无法生成问题。",
    },
    "measured_best": {"en": "The settings fit these documents.", "zh": "当前设置适合这些文档。"},
    "measured_better": {
        "en": "Meaning weighing {weight:g} times the usual would be better for these documents: a mean reciprocal rank"
        " of {better:.3f} instead of {now:.3f}.",
        "zh": "对这些文档，把语义的权重设为默认的 {weight:g} 倍会更好：平均倒数排名从 {now:.3f} 升到 {better:.3f}。",
    },
    "measured_usual": {
        "en": "The usual weight of meaning would be better for these documents: a mean reciprocal rank of {better:.3f}"
        " instead of {now:.3f}.",
        "zh": "对这些文档，语义的默认权重会更好：平均倒数排名从 {now:.3f} 升到 {better:.3f}。",
    },
    "measured_words": {
        "en": "Searching by words alone would be better for these documents: a mean reciprocal rank of {better:.3f}"
        " instead of {now:.3f}.",
        "zh": "对这些文档，只按词语检索会更好：平均倒数排名从 {now:.3f} 升到 {better:.3f}。",
    },
    "way": {"en": "Searching by", "zh": "检索方式"},
    "among_five": {"en": "Right passage among the first five", "zh": "正确段落在前五名"},
    "mrr": {"en": "Mean reciprocal rank", "zh": "平均倒数排名"},
    "ms_per_search": {"en": "Time of a search", "zh": "每次检索用时"},
    "leg_both": {"en": "By both", "zh": "两者结合"},
    # An embedder that has to be fetched
    "embedder_missing": {
        "en": "{name} is not on this machine. Its files are asked of {host}, and nothing else is sent; the download can"
        " be stopped and gone on with.",
        "zh": "本机没有 {name}。下载只会向 {host} 请求它的文件，不发送其他内容；可以随时停止，之后继续。",
    },
    "embedder_fetch": {"en": "Download it and use it", "zh": "下载并使用"},
    # The weight of meaning
    "weight_apply": {"en": "Use this weight", "zh": "采用此权重"},
    "weight_undo": {"en": "Back to the usual weight", "zh": "恢复默认权重"},
    "weight_now": {
        "en": "In this library meaning weighs {weight:g} times the usual.",
        "zh": "此资料库中，语义的权重是默认的 {weight:g} 倍。",
    },
    "weight_none": {
        "en": "In this library words alone decide the order.",
        "zh": "此资料库中，排序只看词语。",
    },
}
