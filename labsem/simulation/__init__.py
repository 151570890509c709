"""A simulated powder on a stub: frames of any place and field width, with their ground truth.

>>> from labsem.simulation import View, World, render
>>> frame = render(World(seed=7), View(x_mm=0.1, y_mm=0.0, hfw_um=200.0, width_px=64, height_px=48))
>>> frame.pixels.shape
(48, 64)
"""

from labsem.simulation.bodies import Particle
from labsem.simulation.dataset import write_dataset
from labsem.simulation.materials import Material, backscatter_coefficient
from labsem.simulation.powders import powder_scene, random_scene
from labsem.simulation.random_frames import random_frame
from labsem.simulation.render import SIMULATOR_VERSION, SimulatedFrame, render
from labsem.simulation.scene import Component, Look, SceneParameters, Substrate
from labsem.simulation.sizes import Bimodal, LogNormal
from labsem.simulation.truth import TrueParticle
from labsem.simulation.view import View
from labsem.simulation.world import World

__all__ = [
    "SIMULATOR_VERSION",
    "Bimodal",
    "Component",
    "LogNormal",
    "Look",
    "Material",
    "Particle",
    "SceneParameters",
    "SimulatedFrame",
    "Substrate",
    "TrueParticle",
    "View",
    "World",
    "backscatter_coefficient",
    "powder_scene",
    "random_frame",
    "random_scene",
    "render",
    "write_dataset",
]
