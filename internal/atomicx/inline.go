//go:build !explore

package atomicx

// The compiler inlines a function across packages if its body is in the export
// data of a package that the caller imports, and atomicx's holds only the
// bodies that its own code calls. Without this function, which is never run,
// each Load and CompareAndSwap of the packages that know go.uber.org/atomic
// through the aliases alone is a call of 1-2 ns.
//
// Pointer needs no mention: as a generic type it is instantiated where it is
// used.
func inline(w *Uint32, d *Uint64) (bool, uint64) {
	w.Store(w.Load())
	w.Swap(w.Add(1) + w.Sub(1) + w.Inc() + w.Dec())
	d.Store(d.Load())
	d.Swap(d.Add(1) + d.Sub(1) + d.Inc() + d.Dec())
	return w.CompareAndSwap(0, 1) && d.CompareAndSwap(0, 1), d.Load()
}

var _ = inline
