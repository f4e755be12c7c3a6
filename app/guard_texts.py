"""The texts at the door, in English and Chinese; `app.i18n` has them with all others."""

GUARD_TEXTS: dict[str, dict[str, str]] = {
    "locked": {
        "en": "This page opens with the link that AstrAI printed when it started. Start it again for a new link.",
        "zh": "请用 AstrAI 启动时显示的链接打开此页面；重新启动可获得新链接。",
    },
    "opening": {"en": "Opening AstrAI …", "zh": "正在打开 AstrAI …"},
    "password": {"en": "Password", "zh": "密码"},
    "log_in": {"en": "Log in", "zh": "登录"},
    "give_password": {"en": "This AstrAI runs on another machine.", "zh": "此 AstrAI 运行在另一台电脑上。"},
    "wrong_password": {"en": "That is not the password.", "zh": "密码不正确。"},
    "too_many_tries": {
        "en": "Too many tries. Wait a minute, then try again.",
        "zh": "尝试次数过多，请一分钟后再试。",
    },
}
