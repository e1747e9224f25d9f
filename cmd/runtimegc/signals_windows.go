package main

import "os"

// sweepSignals are empty: Windows has no signal for it.
var sweepSignals []os.Signal
