//go:build !explore

package mapper_test

import (
	"testing"
	"unsafe"

	"github.com/brokermap/brokermap/mapper"
)

// Who embeds one pays for it.
func TestSlot_Size(t *testing.T) {
	if size := unsafe.Sizeof(mapper.Slot{}); size != 2*unsafe.Sizeof(uintptr(0)) {
		t.Errorf("a Slot takes %d bytes, want two words", size)
	}
}
