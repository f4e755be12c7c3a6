"""Copy a model of this disk into the models folder, after it has been checked.

python launch.py add ~/Downloads/model-Q4_0.gguf
python launch.py add /media/usb/some-model
"""

import sys
from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("source", metavar="PATH", help="GGUF file, or folder with config.json and safetensors")
    parser.add_argument("--move", action="store_true", help="move the files instead of copying them")
    parser.add_argument("--json", action="store_true", help="tell how far it is as lines of JSON")


def run(arguments: Namespace) -> int:
    from app import model_import

    if arguments.json:
        return model_import.run(arguments.source, moves=arguments.move)
    sys.stdout.write(f"It is in {model_import.add_model(arguments.source, moves=arguments.move)}.\n")
    return 0
