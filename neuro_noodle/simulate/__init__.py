"""The built-in stimuli: schematic faces, a film of a rat, and simulated neurons of V1."""
