"""Write a model for other programs (hf: transformers, vLLM), or a smaller one (int8)."""

from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", help="model folder")
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--to", default="hf", choices=("hf", "int8"), help="form to write (default hf)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="of hf weights")


def run(arguments: Namespace) -> int:
    import core

    folder = core.export(arguments.model, arguments.output, to=arguments.to, dtype=arguments.dtype)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"Wrote {folder}, {size / 1e6:.1f} MB.")
    return 0
