// Package integration tests the program as its users meet it: the built binary, real
// daemon dirs, real processes. Its test binary re-executes itself as the trampoline of
// each daemon, and a spawner plays the protocol of spawn_daemon() in its real order.
//
// Every file says by its prefix what it is about:
//
//	kit_      what the tests share: the binary, spawner, logs, roots of every kind
//	cli_      the command line: arguments, output, exit codes, configuration, reports
//	life_     a daemon's life: its birth, refreshes, exit and removal
//	root_     the runtime root itself: missing, locked, refused, several, other file systems
//	quiet_    what costs nothing and logs nothing while nothing happens
//	limits_   too few watches, descriptors, or places in the kernel's queue
//	storm_    very much at once, and for long
//	hostile_  what a user who may write to the root can do to it
//	bench_    what it costs, beside what others cost
//	source_   what the sources must keep to: the direction of imports, the layout
//
// What a user types and sees, without a process that has to live meanwhile, is a script in
// testdata/script; cli_script_test.go says what scripts may use.
//
// Environment variables steer it:
//
//	GCTEST_BINARY  a prebuilt cmd/runtimegc; without it, it is built once per run
//	GCTEST_SEED    the seed of the storms, as one that failed prints it
//	GCTEST_STEPS   the steps of the one mixed storm that is done, as one that failed prints them
//	GCTEST_LONG    not empty: the long forms, minutes instead of seconds
//	GCTEST_SOAK    the number of cycles of the soak
//	GCTEST_CLIENT  a checkout of running-process, whose own spawner is then played against
//	GCTEST_USES    for how long dirs are used at random, such as 5m
//
//	GCTEST_TRAMPOLINE_BINARY  a prebuilt integration/testdata/trampoline; if only GCTEST_BINARY is given,
//	                          the test binary plays the daemons, and takes longer to start
//
//	GCTEST_MODEL_STEPS  how many steps the storm of a model has
//	GCTEST_MODEL_KINDS  of which kinds, by commas: those, or, each with a "-", all but those
//
// The package holds nothing but tests.
package integration
