"""Write every picture of a run."""

import sys

from neuro_noodle.views.report import main

sys.exit(main())
