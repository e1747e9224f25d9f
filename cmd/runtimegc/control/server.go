package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	stdlog "log"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

const (
	// maxClients is how many connections may be open at a time; more must wait. Each takes a
	// descriptor, and a watch needs those for its daemons.
	maxClients = 8

	// maxRequest is the size of a request in bytes. It has room for some 50,000 names.
	maxRequest = 4 << 20

	headerTimeout = 5 * time.Second
	closeTimeout  = time.Second
)

// A Client is the process that asks.
type Client struct {
	PID int // 0: it is not known, or in another pid namespace
	UID int // -1: it is not known, but that of this process
}

// A Watch answers requests. Its methods may be called from several goroutines.
type Watch interface {
	Status() Status
	Endings() iter.Seq2[string, prune.Ending] // by name
	Sweep(ctx context.Context, from Client, r prune.Request) (prune.Result, error)
}

// A Server answers for the watch of one root.
type Server struct {
	id     daemondir.FileID
	http   http.Server
	served chan struct{} // closed when it has ended
}

// Serve begins to answer for the watch of root, whose identity is id, until [Server.Close].
func Serve(root string, id daemondir.FileID, w Watch) (*Server, error) {
	place, err := newPlace(root, id)
	if err != nil {
		return nil, err
	}
	listener, err := place.listen()
	if err != nil {
		return nil, err
	}
	s := &Server{id: id, served: make(chan struct{})}
	mux := http.NewServeMux()
	same := func(do http.HandlerFunc) http.HandlerFunc {
		return func(out http.ResponseWriter, r *http.Request) {
			if now, _ := Identify(root); now != id {
				http.Error(out, "the runtime root was moved or removed", http.StatusGone)
				return
			}
			do(out, r)
		}
	}
	mux.HandleFunc("GET /status", same(func(out http.ResponseWriter, _ *http.Request) {
		enc := answer(out, w.Status())
		for name, ended := range w.Endings() {
			if enc.Encode(ending{[]byte(name), ended}) != nil {
				return // nobody listens any more
			}
		}
	}))
	mux.HandleFunc("POST /sweep", same(func(out http.ResponseWriter, r *http.Request) {
		var asked sweepRequest
		if err := json.NewDecoder(http.MaxBytesReader(out, r.Body, maxRequest)).Decode(&asked); err != nil {
			http.Error(out, err.Error(), http.StatusBadRequest)
			return
		}
		request := prune.Request{StaleAfter: asked.StaleAfter}
		for _, name := range asked.Names {
			request.Names = append(request.Names, string(name))
		}
		from, _ := r.Context().Value(clientKey{}).(clientAddr)
		result, err := w.Sweep(r.Context(), from.Client, request)
		if err != nil {
			http.Error(out, err.Error(), http.StatusConflict)
			return
		}
		answer(out, newSweepResult(result))
	}))
	s.http = http.Server{
		Handler: mux,
		// No limit on the whole: a sweep takes as long as it takes.
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          stdlog.New(io.Discard, "", 0), // each client sees its own
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, clientKey{}, c.RemoteAddr())
		},
	}
	s.http.SetKeepAlivesEnabled(false)
	go func() {
		defer close(s.served)
		_ = s.http.Serve(netutil.LimitListener(trusting{listener, place}, maxClients))
	}()
	return s, nil
}

// ID returns the identity of the root.
func (s *Server) ID() daemondir.FileID { return s.id }

// Close takes no more requests, and gives those under way a moment to be answered.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	<-s.served
}

// answer sends v. More values may follow.
func answer(out http.ResponseWriter, v any) *json.Encoder {
	out.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(out)
	_ = enc.Encode(v) // the client sees that it is cut off
	return enc
}

type clientKey struct{}

// A clientConn is a connection of a client that is known. net/http passes on only its address.
type clientConn struct {
	net.Conn
	client Client
}

func (c clientConn) RemoteAddr() net.Addr { return clientAddr{c.client} }

type clientAddr struct{ Client }

func (clientAddr) Network() string  { return "unix" }
func (a clientAddr) String() string { return fmt.Sprintf("pid %d", a.PID) }

// trusting accepts the connections of those that may remove the directories of the root.
type trusting struct {
	net.Listener
	place place
}

func (l trusting) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client, err := l.place.peer(conn)
		if err == nil {
			return clientConn{conn, client}, nil
		}
		conn.Close()
	}
}
