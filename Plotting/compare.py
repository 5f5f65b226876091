"""Compare what the latents of runs represent."""

import sys

from neuro_noodle.views.compare import main

sys.exit(main())
