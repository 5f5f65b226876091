"""The built-in stimuli."""
