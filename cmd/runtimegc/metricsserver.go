package main

// Serving the metrics over HTTP: --metrics-listen.

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"runtimegc/registry/daemondir"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"golang.org/x/net/netutil"
)

const (
	// maxScrapers is how many connections are open at a time; more wait. Each takes a
	// descriptor, and those are for the daemons.
	maxScrapers = 16

	// A scrape takes milliseconds. Whoever takes longer is stuck, or means harm.
	readTimeout  = 5 * time.Second
	writeTimeout = 30 * time.Second

	// stopTimeout is how long the end of a watch waits for a scrape.
	stopTimeout = 2 * time.Second
)

// listenAddress is the value of --metrics-listen: host and port, or empty.
type listenAddress string

// Set takes a port, :port or host:port. Without a host it is the loopback's: what is
// told concerns the machine's owner alone, so all others must be asked for.
func (a *listenAddress) Set(text string) error {
	if text == "" {
		*a = ""
		return nil
	}
	if !strings.Contains(text, ":") {
		text = ":" + text
	}
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("no port or address such as 9100, 127.0.0.1:9100 or [::1]:9100")
	}
	if host == "" {
		host = "127.0.0.1"
	}
	*a = listenAddress(net.JoinHostPort(host, port))
	return nil
}

func (a *listenAddress) String() string { return string(*a) }
func (a *listenAddress) Type() string   { return "address" }

// open takes the address, so that it is known at the start whether it is to be had.
func (a listenAddress) open(ctx context.Context) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", string(a))
	if err != nil {
		return nil, fmt.Errorf("serving metrics, choose another --metrics-listen: %w", err)
	}
	return listener, nil
}

// serveMetrics serves /metrics, and nothing else, until ctx is done. A scrape that is
// under way then is finished.
func serveMetrics(ctx context.Context, log zerolog.Logger, listener net.Listener, from prometheus.Gatherer) {
	complaints := stdlog.New(complaintWriter{log}, "", 0)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(from, promhttp.HandlerOpts{ErrorLog: complaints}))
	server := &http.Server{
		Handler:      mux,
		ReadTimeout:  readTimeout,
		WriteTimeout: writeTimeout,
		// A request has a few hundred bytes of header; Go adds 4 KiB to this.
		MaxHeaderBytes: 4 << 10,
		ErrorLog:       complaints,
	}
	// A scrape every some seconds needs no connection in between.
	server.SetKeepAlivesEnabled(false)

	log.Info().Str("event", "metrics.listening").Str("address", listener.Addr().String()).
		Msg("serving metrics")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := server.Serve(netutil.LimitListener(listener, maxScrapers))
		if !errors.Is(err, http.ErrServerClosed) {
			log.Warn().Str("event", "metrics.failed").Err(err).Msg("metrics are no longer served")
		}
	}()
	<-ctx.Done()
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if server.Shutdown(patience) != nil {
		_ = server.Close() // of connections that are stuck; nothing is lost
	}
	<-ended
}

// complaintWriter has what net/http complains of, such as a client that went away, in
// the log, which is JSON, and quietly: any client can cause it.
type complaintWriter struct{ log zerolog.Logger }

func (w complaintWriter) Write(line []byte) (int, error) {
	w.log.Debug().Str("event", "metrics.http").
		Str("error", daemondir.Printable(strings.TrimSpace(string(line)))).Msg("serving metrics")
	return len(line), nil
}
