"""The texts of backing up and restoring, in English and Chinese; `app.i18n` has them with all others."""

ARCHIVE_TEXTS: dict[str, dict[str, str]] = {
    "archive_title": {"en": "Backup", "zh": "备份"},
    "archive_about": {
        "en": "Conversations, ratings, library and settings go into one zip. Models and runs of the studio do not.",
        "zh": "对话、评价、资料库和设置会写入一个 zip 文件；模型和训练工坊的训练不在其中。",
    },
    "archive_back_up": {"en": "Back up everything…", "zh": "备份全部数据…"},
    "archive_restore": {"en": "Restore from a backup…", "zh": "从备份恢复…"},
    "archive_making": {"en": "Backing up: {done} of {total}", "zh": "正在备份：{done} / {total}"},
    "archive_made": {
        "en": "The backup is made. It stays here until AstrAI ends.",
        "zh": "备份已完成，AstrAI 结束前都可下载。",
    },
    "archive_fetch": {"en": "Save {name} ({size})", "zh": "保存 {name}（{size}）"},
    "archive_sending": {"en": "Reading the backup: {share} %", "zh": "正在读取备份：{share} %"},
    "archive_checking": {"en": "Checking the backup …", "zh": "正在检查备份……"},
    "archive_lost": {"en": "The backup did not arrive. Try again.", "zh": "备份文件没有送达，请重试。"},
    "archive_staged": {
        "en": "The backup was checked. At the next start of AstrAI these take the place of what is here: {parts}."
        " Nothing is changed until then; what is replaced is kept in the folder “replaced” of your data.",
        "zh": "备份已通过检查。下次启动 AstrAI 时，以下内容会替换现有数据：{parts}。"
        "在此之前不会有任何变化；被替换的内容保存在数据目录的“replaced”文件夹中。",
    },
    "archive_restart": {
        "en": "End AstrAI with Ctrl-C where you started it, and start it again.",
        "zh": "请在启动 AstrAI 的窗口按 Ctrl-C 结束它，然后重新启动。",
    },
    "archive_forget": {"en": "Do not restore", "zh": "取消恢复"},
    "part_conversations": {"en": "conversations", "zh": "对话"},
    "part_preferences": {"en": "ratings", "zh": "评价"},
    "part_library": {"en": "library", "zh": "资料库"},
    "part_files": {"en": "copies of dropped files", "zh": "拖入文件的副本"},
    "part_settings": {"en": "settings", "zh": "设置"},
    "part_personas": {"en": "personas", "zh": "角色"},
}
