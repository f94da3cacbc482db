"""The Keras demo's options."""

import argparse

from arguments import at_least


def parse() -> argparse.Namespace:
    """Reads the command line; ends the process with a message where it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="tools/demo --keras",
        description="Trains two unchanged Keras models, an image classifier and a language model, on four processes "
        "under keras.distribution.ModelParallel, and compares every loss with those of one plain process, which runs "
        "before.",
        epilog="Exit code 1 if the losses part or a rank fails.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--epochs", type=at_least(1), default=3, help="over the data of each model")
    parser.add_argument("--rows", type=at_least(4), default=650, help="of that data; the last batch may be incomplete")
    parser.add_argument("--batch", type=at_least(4), default=32, help="images or pieces of text per step")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the weights, the data and the dropout")
    parser.add_argument("--out", default="out/demo_keras.png", help="where the picture is written")
    parser.add_argument("--write-plain", metavar="FILE", help=argparse.SUPPRESS)  # the one plain process
    parser.add_argument("--read-plain", metavar="FILE", help=argparse.SUPPRESS)  # the four ranks
    return parser.parse_args()


if __name__ == "__main__":
    parse()
