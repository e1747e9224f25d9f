// Package mounts reads tables of mounts: what a process sees mounted where.
package mounts
