package metrics

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"runtimegc/registry/daemondir"
)

// textfileSuffix ends the names that node_exporter reads. A temporary file does not have it,
// so that node_exporter does not read files that are being written.
const textfileSuffix = ".prom"

// A Textfile is the absolute path of the file, or empty. It is the value of a flag.
type Textfile string

// Set takes a path that ends in .prom.
func (f *Textfile) Set(path string) (err error) {
	if path != "" {
		if !strings.HasSuffix(path, textfileSuffix) {
			return fmt.Errorf("node_exporter reads only files named *%s", textfileSuffix)
		}
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
	}
	*f = Textfile(path)
	return nil
}

func (f *Textfile) String() string { return string(*f) }
func (f *Textfile) Type() string   { return "file" }

// WriteTextfile writes the textfile once, if Options has one. It replaces the old file
// atomically.
func (m *Metrics) WriteTextfile() error {
	if m == nil || m.opts.Textfile == "" {
		return nil
	}
	if err := prometheus.WriteToTextfile(string(m.opts.Textfile), m.registry); err != nil {
		return fmt.Errorf("writing metrics to %q: %w", m.opts.Textfile, err)
	}
	return nil
}

// keepTextfile writes the file now, after each sweep, and when ctx is done. The same error is
// logged only once.
func (m *Metrics) keepTextfile(ctx context.Context, log zerolog.Logger) {
	logged := ""
	write := func() {
		err := m.WriteTextfile()
		switch {
		case err != nil && cause(err) != logged:
			logged = cause(err)
			log.Warn().Str("event", "metrics.failed").Err(err).
				Msg("metrics cannot be written; trying again after every sweep")
		case err == nil && logged != "":
			logged = ""
			log.Info().Str("event", "metrics.restored").Str("file", daemondir.Printable(string(m.opts.Textfile))).
				Msg("metrics are written again")
		}
	}
	for {
		write()
		select {
		case <-ctx.Done():
			write()
			return
		case <-m.swept:
		}
	}
}

// cause returns the text of an error without the name of the temporary file, which is
// different each time.
func cause(err error) string {
	var path *os.PathError
	var link *os.LinkError
	switch {
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.EEXIST):
		// A directory of the file's name: os.Rename looks first, and the system call looks again.
		return "a directory has its name"
	case errors.As(err, &path):
		return path.Op + ": " + path.Err.Error()
	case errors.As(err, &link):
		return link.Op + ": " + link.Err.Error()
	}
	return err.Error()
}
