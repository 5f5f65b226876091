"""The table of built-in stimuli. To add a kind: a module that defines a `Kind`, and an entry here."""

from neuro_noodle.simulate.arena import ARENA
from neuro_noodle.simulate.base import Kind
from neuro_noodle.simulate.faces import FACES
from neuro_noodle.simulate.population import V1
from neuro_noodle.simulate.surround import V1_SURROUND

KINDS: dict[str, Kind] = {"faces": FACES, "arena": ARENA, "v1": V1, "v1_surround": V1_SURROUND}
