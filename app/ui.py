"""The page: Gradio Blocks with our theme, texts and keys. Nothing in it is fetched from outside."""

from pathlib import Path

import gradio as gr
from fastapi import FastAPI

from app.services import Services
from app.tabs.chat import ChatTab

STATIC = Path(__file__).parent / "static"
FONTS = ["system-ui", "-apple-system", "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif"]
MAX_UPLOAD = "1mb"
MONO = ["ui-monospace", "SFMono-Regular", "Consolas", "Noto Sans Mono CJK SC", "monospace"]


def mount_page(app: FastAPI, services: Services, *, host: str, port: int) -> FastAPI:
    """The app with the page at its root, behind whatever routes it has already."""
    return gr.mount_gradio_app(
        app,
        build_page(services).queue(max_size=64, default_concurrency_limit=8),
        path="/",
        server_name=host,
        server_port=port,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        max_file_size=MAX_UPLOAD,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=style(),
        head=head(),
    )


def build_page(services: Services) -> gr.Blocks:
    """All tabs in one Blocks."""
    with gr.Blocks(title="AstrAI", analytics_enabled=False) as blocks:
        chat = ChatTab(services)
        chat.on_load(blocks)
    return blocks


def theme() -> gr.themes.Base:
    """Calm greys and one accent."""
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.zinc,
        radius_size=gr.themes.sizes.radius_lg,
        font=FONTS,
        font_mono=MONO,
    )
    return base.set(
        body_background_fill="#fcfcfd",
        body_background_fill_dark="#131316",
        body_text_color_subdued="#6b6b76",
        body_text_color_subdued_dark="#a5a5b0",
        input_placeholder_color="#75757f",
        input_placeholder_color_dark="#8f8f9b",
        color_accent_soft="#eceefe",
        color_accent_soft_dark="#2a2b45",
        background_fill_secondary_dark="#1b1b20",
        button_secondary_background_fill="transparent",
        button_secondary_background_fill_dark="transparent",
        button_secondary_border_color="*border_color_primary",
        input_background_fill="#ffffff",
        input_background_fill_dark="#1b1b20",
    )


def style() -> str:
    return (STATIC / "style.css").read_text(encoding="utf-8")


def head() -> str:
    script = (STATIC / "page.js").read_text(encoding="utf-8")
    return f'<meta name="viewport" content="width=device-width, initial-scale=1"><script>{script}</script>'
