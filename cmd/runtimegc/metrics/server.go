package metrics

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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"golang.org/x/net/netutil"

	"runtimegc/registry/daemondir"
)

const (
	// maxScrapers is how many connections may be open at a time; more must wait. Each takes
	// a descriptor, and we need those for the daemon dirs.
	maxScrapers = 16

	// A scrape takes milliseconds. A client that takes longer is stuck or hostile.
	readTimeout  = 5 * time.Second
	writeTimeout = 30 * time.Second

	// stopTimeout is how long the end of a watch waits for a scrape that is under way.
	stopTimeout = 2 * time.Second
)

// An Address is the host and port to serve on, or empty. It is the value of a flag.
type Address string

// Set takes a port, :port or host:port. The default host is 127.0.0.1: other machines are
// served only on request.
func (a *Address) Set(text string) error {
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
		return errors.New("it must be a port or an address, such as 9100, 127.0.0.1:9100 or [::1]:9100")
	}
	if host == "" {
		host = "127.0.0.1"
	}
	*a = Address(net.JoinHostPort(host, port))
	return nil
}

func (a *Address) String() string { return string(*a) }
func (a *Address) Type() string   { return "address" }

// open begins to listen, so that an address that is in use is an error at the start.
func (a Address) open(ctx context.Context) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", string(a))
	if err != nil {
		return nil, fmt.Errorf("serving metrics, choose another --metrics-listen: %w", err)
	}
	return listener, nil
}

// serve serves /metrics, and nothing else, until ctx is done. Then it waits for the scrapes
// that are under way.
func serve(ctx context.Context, log zerolog.Logger, listener net.Listener, from prometheus.Gatherer) {
	errorLog := stdlog.New(errorWriter{log}, "", 0)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(from, promhttp.HandlerOpts{ErrorLog: errorLog}))
	server := &http.Server{
		Handler:      mux,
		ReadTimeout:  readTimeout,
		WriteTimeout: writeTimeout,
		// A request has a few hundred bytes of header; Go adds 4 KiB to this.
		MaxHeaderBytes: 4 << 10,
		ErrorLog:       errorLog,
	}
	// There are seconds between two scrapes: no connection needs to stay open.
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
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if server.Shutdown(stopping) != nil {
		_ = server.Close() // the connections that are left are stuck
	}
	<-ended
}

// errorWriter logs the errors of net/http, such as a lost connection, at debug level, because
// any client can cause them.
type errorWriter struct{ log zerolog.Logger }

func (w errorWriter) Write(line []byte) (int, error) {
	w.log.Debug().Str("event", "metrics.http").
		Str("error", daemondir.Printable(strings.TrimSpace(string(line)))).Msg("serving metrics")
	return len(line), nil
}
