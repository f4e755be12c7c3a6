"""The answer settings of the chat: six that most people know, four folded away, and the way back to the usual ones."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.format import to_seed
from app.i18n import t
from core.config.param_config import MAX_STOP_CHARS, MAX_STOPS, SamplingConfig

Updates = dict[Any, Any]  # component -> what it shows
LABELS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "repetition_penalty": "repetition_penalty",
    "max_new_tokens": "max_new_tokens",
    "seed": "seed",
    "min_p": "min_p",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "stop": "stop_strings",
}
WHOLE = ("top_k", "max_new_tokens")


class SamplingPanel:
    """Builds the panel. `fields` are its components by the names of SamplingConfig."""

    def __init__(self) -> None:
        usual = SamplingConfig()
        with gr.Accordion(open=False, elem_id="sampling") as self.panel:
            with gr.Row():
                temperature = gr.Slider(0, 2, value=usual.temperature, step=0.05)
                top_p = gr.Slider(0.05, 1, value=usual.top_p, step=0.05)
            with gr.Row():
                top_k = gr.Slider(0, 200, value=usual.top_k, step=1)
                repetition_penalty = gr.Slider(0.8, 2, value=usual.repetition_penalty, step=0.05)
            with gr.Row():
                max_new_tokens = gr.Slider(16, 4096, value=usual.max_new_tokens, step=16)
                seed = gr.Textbox(value="", max_length=19, elem_id="seed")
            with gr.Accordion(open=False, elem_id="more-sampling") as self.more:
                with gr.Row():
                    min_p = gr.Slider(0, 1, value=usual.min_p, step=0.01)
                    stop = gr.Textbox(value="", lines=1, max_lines=4, max_length=MAX_STOPS * MAX_STOP_CHARS)
                with gr.Row():
                    presence_penalty = gr.Slider(-2, 2, value=usual.presence_penalty, step=0.1)
                    frequency_penalty = gr.Slider(-2, 2, value=usual.frequency_penalty, step=0.1)
            self.reset = gr.Button(size="sm", elem_id="reset-sampling")
        self.fields: dict[str, Any] = {
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "repetition_penalty": repetition_penalty,
            "max_new_tokens": max_new_tokens,
            "seed": seed,
            "min_p": min_p,
            "presence_penalty": presence_penalty,
            "frequency_penalty": frequency_penalty,
            "stop": stop,
        }

    def wire(self, options: dict[str, Any]) -> None:
        self.reset.click(self.usual, outputs=self.inputs, queue=False, **options)

    @property
    def inputs(self) -> list[Any]:
        return list(self.fields.values())

    def chosen(self, form: Mapping[Any, Any]) -> dict[str, Any]:
        """Options of a chat out of the values of `inputs`."""
        values = {name: form[field] for name, field in self.fields.items()}
        values |= {name: int(values[name]) for name in WHOLE}
        stops = [line for line in str(values["stop"] or "").splitlines() if line.strip()]
        return values | {"seed": to_seed(str(values["seed"] or "")), "stop": stops[:MAX_STOPS]}

    def usual(self) -> Updates:
        """What everything is at first."""
        return self.set(SamplingConfig().to_dict())

    def set(self, sampling: Mapping[str, Any]) -> Updates:
        """Show these options; those that are not among them stay."""
        shown = {name: sampling[name] for name in self.fields if name in sampling}
        if "seed" in shown:
            shown["seed"] = "" if shown["seed"] is None else str(shown["seed"])
        if "stop" in shown:
            shown["stop"] = "\n".join(shown["stop"])
        return {self.fields[name]: gr.update(value=value) for name, value in shown.items()}

    def texts(self, language: str) -> Updates:
        return {
            self.panel: gr.update(label=t("sampling", language)),
            self.more: gr.update(label=t("more_sampling", language)),
            self.reset: gr.update(value=t("reset_sampling", language)),
            **{self.fields[name]: gr.update(label=t(key, language)) for name, key in LABELS.items()},
        }
