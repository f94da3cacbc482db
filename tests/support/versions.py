"""What the torch that is there has."""

import torch

COMPILED_GRAPHS = torch.__version__ >= "2.15"  # what weft.compile_graphs needs
