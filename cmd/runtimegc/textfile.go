package main

// Writing the metrics to a file for node_exporter's textfile collector:
// --metrics-textfile.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"runtimegc/registry/daemondir"
	"runtimegc/watcher"
)

// textfileSuffix is what node_exporter asks of a file's name, so that it does not read
// one that is being written.
const textfileSuffix = ".prom"

// checkTextfile returns the absolute path of a textfile, which must not lie in root:
// its writing would be an event there, and its temporary file in a daemon's dir.
func checkTextfile(path, root string) (string, error) {
	if !strings.HasSuffix(path, textfileSuffix) {
		return "", usageError{fmt.Errorf("--metrics-textfile is %q, but node_exporter reads only files named *%s", path, textfileSuffix)}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("resolving --metrics-textfile: %w", err)
	}
	// A symlink at its end is replaced, not followed.
	if within(watcher.Resolve(root), watcher.Resolve(filepath.Dir(path))) {
		return "", usageError{fmt.Errorf("--metrics-textfile %q lies in the root %q; keep it elsewhere", path, root)}
	}
	return path, nil
}

// keepTextfile writes the file now, after each sweep, and when ctx is done. What goes
// wrong is said once.
func keepTextfile(ctx context.Context, log zerolog.Logger, m *metrics) {
	said := ""
	write := func() {
		err := m.write()
		switch {
		case err != nil && cause(err) != said:
			said = cause(err)
			log.Warn().Str("event", "metrics.failed").Err(err).
				Msg("metrics cannot be written; trying again after every sweep")
		case err == nil && said != "":
			said = ""
			log.Info().Str("event", "metrics.restored").Str("file", daemondir.Printable(m.textfile)).
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

// cause is what an error says but for the name of a temporary file, which is another
// each time.
func cause(err error) string {
	var path *os.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Op + ": " + path.Err.Error()
	case errors.As(err, &link):
		return link.Op + ": " + link.Err.Error()
	}
	return err.Error()
}
