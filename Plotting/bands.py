"""Draw the spread over repetitions."""

import sys

from neuro_noodle.views.bands import main

sys.exit(main())
