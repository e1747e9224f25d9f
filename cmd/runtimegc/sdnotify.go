package main

// What a service manager is told: systemd's sd_notify(3). Without one nothing here does
// anything.

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// statusInterval is how often the status is brought up to date where there is no
// watchdog to answer.
const statusInterval = time.Minute

// service is the service manager's view of us.
type service struct {
	watches  []*rootWatch
	watchdog time.Duration // how long it waits for an answer; 0: there is none
	status   string        // the last that was told
}

func newService(watches []*rootWatch) (*service, error) {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("asking for the watchdog: %w", err)
	}
	return &service{watches: watches, watchdog: watchdog}, nil
}

// tell sends a message. A manager that does not hear us acts by itself: there is nothing
// that we could do.
func (s *service) tell(state string) { _, _ = daemon.SdNotify(false, state) }

// run tells that we are ready when every root has been read, or is waited for; answers
// the watchdog, but only when every loop has shown that it turns; and tells that we
// stop.
func (s *service) run(ctx context.Context) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return
	}
	defer s.tell(daemon.SdNotifyStopping)
	for _, w := range s.watches {
		select {
		case <-w.ready:
		case <-ctx.Done():
			return
		}
	}
	s.tell(daemon.SdNotifyReady)
	interval := s.watchdog / 2
	if interval == 0 {
		interval = statusInterval
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		s.tellStatus()
		if !s.ping(ctx) {
			return
		}
		if s.watchdog > 0 {
			s.tell(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ping waits until every loop has answered, or returns false when ctx is done first.
func (s *service) ping(ctx context.Context) bool {
	for _, w := range s.watches {
		for _, loop := range w.pings {
			select {
			case loop <- struct{}{}:
			case <-ctx.Done():
				return false
			}
		}
	}
	return true
}

func (s *service) tellStatus() {
	status := fmt.Sprintf("STATUS=watching %d daemon dirs in %d roots", daemonDirs(s.watches), len(s.watches))
	if status != s.status {
		s.status = status
		s.tell(status)
	}
}

// reload tells of a reload while it is done. What is not ready yet does not become so by
// it.
func (s *service) reload(do func()) {
	for _, w := range s.watches {
		select {
		case <-w.ready:
		default:
			do()
			return
		}
	}
	s.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	do()
	s.tell(daemon.SdNotifyReady)
}
