package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

// statusTimeout is how long a watch may take to answer what costs it nothing.
const statusTimeout = 2 * time.Second

// maxStatus is the size in bytes above which an answer is not read: it has room for 200,000
// endings, whatever the names.
const maxStatus = 64 << 20

// A Found is the watch of a root.
type Found struct {
	Status
	PID int // 0: it is not known

	// Endings are how daemons that are dead have ended, by name.
	Endings map[string]prune.Ending

	root string
	http http.Client
}

// Find asks the watch that serves root what it goes by: the one that has the lock, if there
// are several. It returns nil if nothing is there to be asked. The error says who does not
// answer, or must not be believed.
func Find(ctx context.Context, root string) (*Found, error) {
	id, answered := Identify(root)
	if !answered {
		return nil, fmt.Errorf("root %q: %w", daemondir.Printable(root), daemondir.ErrNoAnswer)
	}
	place, err := newPlace(root, id)
	if err != nil {
		return nil, err
	}
	var best *Found
	var failed error
	for slot := range slots {
		f := &Found{root: root}
		f.http = http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				conn, err := place.dial(ctx, slot)
				if err != nil {
					return nil, err
				}
				watch, err := place.peer(conn)
				if err != nil {
					conn.Close()
					return nil, err
				}
				f.PID = watch.PID
				return conn, nil
			},
		}}
		switch err := f.askStatus(ctx); {
		case errors.Is(err, errNobody):
		case err != nil && f.PID != 0:
			failed = fmt.Errorf("pid %d: %w", f.PID, err)
		case err != nil:
			failed = err
		case best == nil || f.Role == prune.RoleCollector:
			best = f
		}
	}
	if best != nil {
		return best, nil
	}
	return nil, failed
}

// Identify returns the identity of root, or none if there is no root. It reports false if the
// file system does not answer.
func Identify(root string) (daemondir.FileID, bool) {
	return daemondir.Within(statusTimeout, "the identity of "+root, func() daemondir.FileID {
		id, _ := daemondir.IdentifyPath(root)
		return id
	})
}

func (f *Found) askStatus(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return f.ask(ctx, http.MethodGet, "/status", nil, maxStatus, func(answer *json.Decoder) error {
		if err := answer.Decode(&f.Status); err != nil {
			return err
		}
		f.Endings = make(map[string]prune.Ending)
		for {
			var e ending
			switch err := answer.Decode(&e); {
			case err == io.EOF:
				return nil
			case err != nil:
				return err
			}
			f.Endings[string(e.Name)] = e.Ending
		}
	})
}

// Sweep has the watch make a sweep, and returns what it has found and done.
func (f *Found) Sweep(ctx context.Context, r prune.Request) (prune.Result, error) {
	asked := sweepRequest{StaleAfter: r.StaleAfter}
	for _, name := range r.Names {
		asked.Names = append(asked.Names, []byte(name))
	}
	var got sweepResult
	err := f.ask(ctx, http.MethodPost, "/sweep", asked, 1<<40, func(answer *json.Decoder) error { return answer.Decode(&got) })
	return got.result(f.root), err
}

func (f *Found) ask(ctx context.Context, method, path string, question any, limit int64, read func(answer *json.Decoder) error) error {
	text, err := json.Marshal(question)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://watch"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	response, err := f.http.Do(request)
	if err != nil {
		return plain(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return errors.New(strings.TrimSpace(string(why)))
	}
	return plain(read(json.NewDecoder(io.LimitReader(response.Body, limit))))
}

// plain says in plain words what net/http says with an address that exists for it only.
func plain(err error) error {
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil, errors.Is(err, errNobody), errors.Is(err, errUntrusted), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("it does not answer")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it has ended, or does not answer to this user")
	}
	return err
}
