"""The command line ``labsem``; its entry is :func:`services.cli.main.main`.

Modules here import what is heavy inside their commands, so that ``labsem --help`` answers at once.
"""
