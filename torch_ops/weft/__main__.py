"""python -m weft."""

import sys

from .cli.main import main

sys.exit(main())
