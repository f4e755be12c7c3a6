"""The words of the command line. Each is a module with `add_arguments(parser)` and `run(arguments)`.

A module brings its libraries when its word runs, so `--help` costs nothing.
"""

COMMANDS: dict[str, str] = {
    "app": "open the assistant in the browser (also without a word)",
    "serve": "answer OpenAI-style requests on this machine",
    "chat": "chat in the terminal",
    "generate": "continue a text",
    "prepare": "turn files into a token data set",
    "train": "train a model on a data set",
    "eval": "score a model on text files",
    "export": "write a model for other programs, or quantised",
    "bench": "measure speed on this machine",
    "doctor": "say what this machine has and what is missing",
    "test": "run the tests",
    "check": "format, lint, types and the fast tests",
}
