// Package integration tests the program as its users meet it: the built binary, real
// daemon dirs, real processes. Its test binary re-executes itself as the trampoline of
// each daemon, and a spawner plays the protocol of spawn_daemon() in its real order.
//
// Environment variables steer it:
//
//	RUNTIMEGC_BINARY  a prebuilt cmd/runtimegc; without it, it is built once per run
//	RUNTIMEGC_SEED    the seed of the storms
//	RUNTIMEGC_STEPS   the steps of the one mixed storm that is done, as one that failed prints them
//	RUNTIMEGC_LONG    not empty: the long forms, minutes instead of seconds
//	RUNTIMEGC_SOAK    the number of cycles of the soak
//
// The package holds nothing but tests.
package integration
