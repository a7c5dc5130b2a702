"""Sans-I/O state machines that simulator and runtime both drive: no clock, no I/O, no randomness of their own."""
