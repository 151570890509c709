"""The instrument gateway: acquires, publishes, and does the rescans it claims (:func:`run_gateway`)."""

from services.gateway.gateway import Gateway
from services.gateway.plan import AcquisitionPlan, PlannedFrame, demo_plan
from services.gateway.running import run_gateway

__all__ = ["AcquisitionPlan", "Gateway", "PlannedFrame", "demo_plan", "run_gateway"]
