package main

// Reports to systemd: sd_notify(3). Without systemd they do nothing.

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// statusInterval is how often the status is updated if there is no watchdog.
const statusInterval = time.Minute

// notifier reports to the service manager.
type notifier struct {
	watches  []*rootWatch
	watchdog time.Duration // its timeout; 0: there is none
	status   string        // the last one that was sent
}

func newNotifier(watches []*rootWatch) (*notifier, error) {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("reading the systemd watchdog's timeout: %w", err)
	}
	return &notifier{watches: watches, watchdog: watchdog}, nil
}

// send ignores errors: if the manager receives nothing, it acts by itself.
func (n *notifier) send(state string) { _, _ = daemon.SdNotify(false, state) }

// run reports that the watch is ready, when every root has been read or is being waited for,
// and at the end that it is stopping. In between it notifies the watchdog, each time after
// every loop has answered.
func (n *notifier) run(ctx context.Context) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return
	}
	defer n.send(daemon.SdNotifyStopping)
	for _, w := range n.watches {
		select {
		case <-w.watcher.Ready():
		case <-ctx.Done():
			return
		}
	}
	n.send(daemon.SdNotifyReady)
	interval := n.watchdog / 2
	if interval == 0 {
		interval = statusInterval
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		n.sendStatus()
		if !n.ping(ctx) {
			return
		}
		if n.watchdog > 0 {
			n.send(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ping waits until every loop has answered. It returns false if ctx is done first.
func (n *notifier) ping(ctx context.Context) bool {
	for _, w := range n.watches {
		if w.watcher.Ping(ctx) != nil || w.collector.Ping(ctx) != nil {
			return false
		}
	}
	return true
}

func (n *notifier) sendStatus() {
	status := fmt.Sprintf("STATUS=watching %d daemon dirs in %d roots", countDirs(n.watches), len(n.watches))
	if status != n.status {
		n.status = status
		n.send(status)
	}
}

// reload calls do, and reports its beginning and end. Before the watch is ready it reports
// nothing, because the end of a reload is reported as ready.
func (n *notifier) reload(do func()) {
	for _, w := range n.watches {
		select {
		case <-w.watcher.Ready():
		default:
			do()
			return
		}
	}
	n.send(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	do()
	n.send(daemon.SdNotifyReady)
}
