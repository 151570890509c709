"""A simulated powder on a stub: frames of any place and field width, with their ground truth.

>>> from labsem.simulation import View, World, render
>>> frame = render(World(seed=7), View(x_mm=0.1, y_mm=0.0, hfw_um=200.0, width_px=64, height_px=48))
>>> frame.pixels.shape
(48, 64)
"""

from labsem.simulation.dataset import random_frame, write_dataset
from labsem.simulation.render import SIMULATOR_VERSION, SimulatedFrame, View, render
from labsem.simulation.scene import Component, Look, SceneParameters, Substrate, powder_scene, random_scene
from labsem.simulation.truth import TrueParticle
from labsem.simulation.world import Particle, World

__all__ = [
    "SIMULATOR_VERSION",
    "Component",
    "Look",
    "Particle",
    "SceneParameters",
    "SimulatedFrame",
    "Substrate",
    "TrueParticle",
    "View",
    "World",
    "powder_scene",
    "random_frame",
    "random_scene",
    "render",
    "write_dataset",
]
