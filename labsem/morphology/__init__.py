"""Numbers of particles, frames and samples.

Entries: :func:`measure_particles`, :func:`summarize_frame`, :func:`summarize_sample`.
"""

from labsem.morphology.distributions import distribution, edge_weights, effective_n, weighted_quantile
from labsem.morphology.frame import FrameNumbers, summarize_frame
from labsem.morphology.intervals import uncertain_fraction, wilson_bounds
from labsem.morphology.particles import ParticleSizes, ParticleTable, measure_particles, measure_sizes
from labsem.morphology.quality import focus_measure, saturated_fraction, signal_to_noise
from labsem.morphology.sample import FrameParticles, VarianceHistory, history_variance, summarize_sample

__all__ = [
    "FrameNumbers",
    "FrameParticles",
    "ParticleSizes",
    "ParticleTable",
    "VarianceHistory",
    "distribution",
    "edge_weights",
    "effective_n",
    "focus_measure",
    "history_variance",
    "measure_particles",
    "measure_sizes",
    "saturated_fraction",
    "signal_to_noise",
    "summarize_frame",
    "summarize_sample",
    "uncertain_fraction",
    "weighted_quantile",
    "wilson_bounds",
]
