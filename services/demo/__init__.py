"""The closed loop on one host without set-up: virtual SEM, analysis daemon and planner (:func:`run_demo`).

Gateway and daemon are processes of their own, as in a lab; the planner is :class:`labsem.client.Labsem`.
"""

from services.demo.errors import DemoError
from services.demo.report import DemoFrame, DemoReport, DemoRescan, DemoState
from services.demo.run import run_demo

__all__ = ["DemoError", "DemoFrame", "DemoReport", "DemoRescan", "DemoState", "run_demo"]
