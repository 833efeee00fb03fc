"""``python -m snakescope.cli``."""

import sys

from snakescope.cli import main

sys.exit(main())
