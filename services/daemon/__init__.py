"""The analysis daemon: :func:`run_daemon`, and :func:`serve` for the command line."""

from services.daemon.errors import DaemonError
from services.daemon.places import image_folder, sources_of
from services.daemon.running import DaemonReady, run_daemon, serve

__all__ = ["DaemonError", "DaemonReady", "image_folder", "run_daemon", "serve", "sources_of"]
