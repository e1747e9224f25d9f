package main

import "runtimegc/registry/daemondir"

// reload does what a SIGHUP asks for: the log is opened anew, daemon.toml is read again
// and, if it is right, what it says goes to every collector. It is for one goroutine.
func (o *watchOptions) reload(watches []*rootWatch) {
	if o.logTo != nil {
		if err := o.logTo.reopen(); err != nil {
			o.log.Warn().Str("event", "log.unwritable").Err(err).Msg("log file cannot be opened anew; the old one goes on")
		}
	}
	file, err := o.file.read()
	if err != nil {
		o.log.Warn().Str("event", "config.invalid").Err(err).Msg("configuration is wrong; what was in effect stays")
		return
	}
	was, now := o.inEffect, o.timesWith(file)
	line := o.log.Info().Str("event", "config.reloaded").Str("file", daemondir.Printable(o.file.path))
	if was == now {
		line.Msg("configuration has not changed")
		return
	}
	if was.StaleAfter != now.StaleAfter {
		line = line.Int64("previous_stale_after_ms", was.StaleAfter.Milliseconds()).
			Int64("stale_after_ms", now.StaleAfter.Milliseconds())
	}
	if was.SweepInterval != now.SweepInterval {
		line = line.Int64("previous_sweep_interval_ms", was.SweepInterval.Milliseconds()).
			Int64("sweep_interval_ms", now.SweepInterval.Milliseconds())
	}
	o.inEffect = now
	for _, w := range watches {
		// The last one counts: a collector in the midst of a long sweep takes it afterwards.
		select {
		case <-w.settings:
		default:
		}
		w.settings <- now
	}
	line.Msg("configuration applied")
}
