"""How fast labsem is, measured on simulated frames; the only place where absolute times are given."""
