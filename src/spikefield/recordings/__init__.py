"""What was measured: readers, the simulator, and the one layout of a prepared session."""
