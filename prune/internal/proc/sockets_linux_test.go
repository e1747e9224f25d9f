//go:build !portable

package proc

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// What a socket is bound to is in one attribute of a message, wherever that stands, and the kernel
// may add others.
func TestBoundTo(t *testing.T) {
	attribute := func(kind uint16, data ...byte) []byte {
		a := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
		a = append(binary.NativeEndian.AppendUint16(a, kind), data...)
		return append(a, make([]byte, -len(a)&3)...)
	}
	const vfs, other = 1, 6
	data := binary.NativeEndian.AppendUint32(nil, 4711)
	data = binary.NativeEndian.AppendUint32(data, 259<<20|3)
	bound := attribute(vfs, data...)
	for rule, row := range map[string]struct {
		attributes []byte
		want       bool
	}{
		"alone":                            {bound, true},
		"before another":                   {slices.Concat(bound, attribute(other, 1)), true},
		"after one of a byte":              {slices.Concat(attribute(other, 1), bound), true},
		"after one of four":                {slices.Concat(attribute(other, 1, 2, 3, 4), bound), true},
		"after an empty one":               {slices.Concat(attribute(other), bound), true},
		"longer than it was":               {attribute(vfs, append(data, 1, 2, 3, 4)...), true},
		"none":                             {nil, false},
		"another, as long":                 {attribute(other, data...), false},
		"another, unpadded":                {attribute(other, 1)[:5], false},
		"shorter":                          {attribute(vfs, data[:7]...), false},
		"cut off":                          {bound[:11], false},
		"cut off in its size":              {bound[:3], false},
		"of no size":                       {make([]byte, 16), false},
		"of less than its size and kind":   {append([]byte{3, 3, 0, 0}, bound...), false},
		"after one that ends after all do": {append([]byte{255, 255, 0, 0}, bound...), false},
	} {
		file, device, ok := boundTo(append(make([]byte, 16), row.attributes...))
		if ok != row.want || ok && (file != 4711 || device != unix.Mkdev(259, 3)) {
			t.Errorf("%s: %d on %#x, %v", rule, file, device, ok)
		}
	}
	if _, _, ok := boundTo(make([]byte, 15)); ok {
		t.Error("a part of a message is bound")
	}
}
