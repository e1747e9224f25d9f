package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version returns the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	if commit := setting(info, "vcs.revision"); commit != "" {
		return commit
	}
	return "devel"
}

// build says what --version does: which version, of which commit, made by which Go for
// which system.
func build() string {
	commit := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		if revision := setting(info, "vcs.revision"); revision != "" {
			commit = revision
			if setting(info, "vcs.modified") == "true" {
				commit += " and changes"
			}
		}
	}
	return fmt.Sprintf("%s (commit %s, %s, %s/%s)", version(), commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func setting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
