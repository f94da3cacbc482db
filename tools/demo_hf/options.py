"""The Hugging Face demo's options."""

import argparse

from arguments import at_least, check_width

HEADS = 4
STAGES = ("plain", "first", "second")


def parse() -> argparse.Namespace:
    """Reads the command line; ends the process with a message where it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="tools/demo --hf",
        description="Makes a small Llama checkpoint, loads it into shards on four processes, trains it with "
        "transformers' own Trainer, saves, resumes on two processes with another mesh, and generates. The same runs "
        "in one plain process before, without a stop, and every loss and token is compared.",
        epilog="Exit code 1 if the losses part, a token is another one, or a rank fails.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=at_least(2), default=60, help="optimizer steps; half of them on four processes")
    parser.add_argument("--layers", type=at_least(1), default=2, help="decoder layers")
    parser.add_argument("--hidden", type=at_least(32), default=128, help=f"width, a multiple of {2 * HEADS}")
    parser.add_argument("--batch", type=at_least(2), default=8, help="pieces of text per step")
    parser.add_argument("--length", type=at_least(8), default=64, help="bytes per piece of text")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the weights, the batches and the dropout")
    parser.add_argument("--out", default="out/demo_hf.png", help="where the picture is written")
    parser.add_argument("--folder", help=argparse.SUPPRESS)  # where checkpoints lie
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)  # what this process does
    options = parser.parse_args()
    check_width(parser, options.hidden, HEADS)
    return options


if __name__ == "__main__":
    parse()
