"""The demo's options."""

import argparse

from arguments import at_least, check_width

HEADS = 8


def parse() -> argparse.Namespace:
    """Reads the command line; ends the process with a message where it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="tools/demo",
        description="Trains an unchanged Hugging Face Llama on four processes, sharded by variable paths, beside the "
        "same model whole, and compares the two at every step.",
        epilog="Exit code 1 if the losses part or a rank fails. With --hf: the Trainer on a checkpoint instead, with "
        "--keras: Keras models; see below.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=at_least(1), default=80, help="optimizer steps")
    parser.add_argument("--layers", type=at_least(1), default=4, help="decoder layers")
    parser.add_argument(
        "--hidden", type=at_least(32), default=256, help=f"width of the model, a multiple of {2 * HEADS}"
    )
    parser.add_argument("--batch", type=at_least(1), default=8, help="pieces of text per step")
    parser.add_argument("--length", type=at_least(8), default=128, help="bytes per piece of text")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the weights and the batches")
    parser.add_argument("--out", default="out/demo.png", help="where the picture is written")
    options = parser.parse_args()
    check_width(parser, options.hidden, HEADS)
    return options


if __name__ == "__main__":
    parse()
