"""The rescan policy: a pure function of a frame's numbers, what was tried, what can be done, and the settings."""

from services.policy.decide import decide
from services.policy.evidence import Attempts, FrameEvidence, PolicyDecision, thresholds

__all__ = ["Attempts", "FrameEvidence", "PolicyDecision", "decide", "thresholds"]
