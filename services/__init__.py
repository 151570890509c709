"""What runs: gateway, daemon, rescan policy, command line."""
