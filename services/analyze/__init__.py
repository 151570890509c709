"""Analysis of frames on disk, without a daemon: :func:`analyze`."""

from services.analyze.options import AnalyzeError, AnalyzeOptions
from services.analyze.run import FrameResult, RunReport, analyze
from services.analyze.summary import FrameSummary

__all__ = ["AnalyzeError", "AnalyzeOptions", "FrameResult", "FrameSummary", "RunReport", "analyze"]
