"""How much the rescan policy helps: sites with planted faults on a virtual microscope."""

from services.rescan_bench.results import Figures, RescanBench, SiteResult
from services.rescan_bench.run import bench_rescans, run_site

__all__ = ["Figures", "RescanBench", "SiteResult", "bench_rescans", "run_site"]
