package metrics

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// Without a host, only this machine is served.
func TestAddress(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"9100", "127.0.0.1:9100"},
		{":9100", "127.0.0.1:9100"},
		{"0", "127.0.0.1:0"},
		{"0.0.0.0:9100", "0.0.0.0:9100"},
		{"[::]:9100", "[::]:9100"},
		{"[::1]:9100", "[::1]:9100"},
		{"localhost:9100", "localhost:9100"},
		{"", ""},
	} {
		var a Address
		if err := a.Set(row.text); err != nil || string(a) != row.want {
			t.Errorf("%q is %q, %v, want %q", row.text, a, err, row.want)
		}
	}
	for _, wrong := range []string{"x", ":", ":http", "localhost", "127.0.0.1:", "65536", "-1", "::1", "1:2:3", "[::1]", "http://localhost:9100", " 9100"} {
		a := Address("as it was")
		if err := a.Set(wrong); err == nil || a != "as it was" {
			t.Errorf("%q: %v, %q", wrong, err, a)
		}
	}
}

// Only reads of /metrics are served; scrapes do not disturb each other.
func TestServer(t *testing.T) {
	m := testMetrics(t, Options{Listen: "127.0.0.1:0"}, "/a", "/b")
	var log daemondirtest.Log
	stop := publish(t, m, &log)
	url := "http://" + m.listener.Addr().String()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	do := func(method, path string) (int, string) {
		req, err := http.NewRequest(method, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp.StatusCode, string(text)
	}
	for _, row := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/metrics", 200}, {"HEAD", "/metrics", 200},
		{"POST", "/metrics", 405}, {"DELETE", "/metrics", 405},
		{"GET", "/", 404}, {"GET", "/metrics/", 404}, {"GET", "/debug/pprof/", 404}, {"GET", "/debug/vars", 404},
	} {
		if code, _ := do(row.method, row.path); code != row.code {
			t.Errorf("%s %s: %d, want %d", row.method, row.path, code, row.code)
		}
	}
	var scrapes sync.WaitGroup
	for range 2 * maxScrapers {
		scrapes.Go(func() {
			code, text := do("GET", "/metrics")
			for _, want := range []string{
				`runtimegc_daemons{root="/a",state="alive"} 0`, `runtimegc_sweep_duration_seconds_count{root="/b"} 1`,
				`runtimegc_notice_latency_seconds_count{event="daemon.live",root="/b"} 1`,
				"go_goroutines", "\nruntimegc_build_info{", "\nruntimegc_log_dropped_total 7\n",
			} {
				if code != 200 || !strings.Contains(text, want) {
					t.Errorf("%d, and no %s in\n%s", code, want, text)
				}
			}
		})
	}
	scrapes.Wait()
	stop()
	if conn, err := net.Dial("tcp", m.listener.Addr().String()); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
	if len(log.Events("metrics.failed")) != 0 {
		t.Error("the end of the server is logged as a failure")
	}
}

// counted is a listener that counts how many of its connections are open at a time.
type counted struct {
	net.Listener

	mu         sync.Mutex // guards open and most
	open, most int
}

func (l *counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open++
		l.most = max(l.most, l.open)
		conn = &countedConn{Conn: conn, closed: sync.OnceFunc(func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.open--
		})}
	}
	return conn, err
}

func (l *counted) counts() (open, most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.most
}

type countedConn struct {
	net.Conn
	closed func()
}

func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// Clients that send no request are cut off; until then they neither use up the
// descriptors nor delay the end of the watch.
func TestStuckScrapers(t *testing.T) {
	m := testMetrics(t, Options{Listen: "127.0.0.1:0"}, "/a")
	listener := &counted{Listener: m.listener}
	m.listener = listener
	stop := publish(t, m, io.Discard)
	began := time.Now()
	for range maxScrapers + 1 {
		conn, err := net.Dial("tcp", m.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET /metrics HTTP/1.1\r\nX: ")
	}
	daemondirtest.Eventually(t, "as many are connected as may be", func() bool { open, _ := listener.counts(); return open >= maxScrapers })
	url := "http://" + m.listener.Addr().String() + "/metrics"
	daemondirtest.Eventually(t, "one gets through that is not stuck", func() bool {
		resp, err := (&http.Client{Timeout: 20 * time.Second}).Get(url)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
	if took := time.Since(began); took < readTimeout {
		t.Errorf("it got through after %v, so the others did not wait", took)
	}
	stop()
	if open, most := listener.counts(); open != 0 || most != maxScrapers {
		t.Errorf("%d connections were open at a time, want %d, and %d are", most, maxScrapers, open)
	}
}
