"""Draw how the latents of a run changed while it trained."""

import sys

from neuro_noodle.views.over_training import main

sys.exit(main())
