package consumer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/IBM/sarama"
	"github.com/klauspost/compress/gzip"
	snappy "github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

var (
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}
	lz4Readers  = sync.Pool{New: func() any { return lz4.NewReader(nil) }}

	// zstdReader decodes concurrently.
	zstdReader = sync.OnceValues(func() (*zstd.Decoder, error) {
		o := []zstd.DOption{zstd.WithDecoderConcurrency(0)}
		if limit := sarama.MaxDecompressedBatchSize; limit > 0 {
			o = append(o, zstd.WithDecoderMaxMemory(uint64(limit)))
		}
		return zstd.NewReader(nil, o...)
	})
)

// decompress appends what data holds to dst. The codecs and the limit, which is
// sarama.MaxDecompressedBatchSize, are sarama's, and so are the errors.
func decompress(codec sarama.CompressionCodec, dst, data []byte) ([]byte, error) {
	limit := int(sarama.MaxDecompressedBatchSize)
	tooLarge := func() error {
		return fmt.Errorf("%w: %s batch decompressed to more than %d bytes", sarama.ErrDecompressedBatchTooLarge, codec, limit)
	}
	switch codec {
	case sarama.CompressionGZIP:
		r := gzipReaders.Get().(*gzip.Reader)
		defer gzipReaders.Put(r)
		if err := r.Reset(bytes.NewReader(data)); err != nil {
			return nil, err
		}
		return readUpTo(r, dst, limit, tooLarge)
	case sarama.CompressionLZ4:
		r := lz4Readers.Get().(*lz4.Reader)
		defer lz4Readers.Put(r)
		r.Reset(bytes.NewReader(data))
		return readUpTo(r, dst, limit, tooLarge)
	case sarama.CompressionSnappy:
		return decompressSnappy(dst, data, limit, tooLarge)
	case sarama.CompressionZSTD:
		z, err := zstdReader()
		if err != nil {
			return nil, err
		}
		out, err := z.DecodeAll(data, dst)
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			return nil, tooLarge()
		}
		return out, err
	default:
		return nil, sarama.PacketDecodingError{Info: fmt.Sprintf("invalid compression specified (%d)", codec)}
	}
}

func readUpTo(r io.Reader, dst []byte, limit int, tooLarge func() error) ([]byte, error) {
	if limit > 0 {
		r = io.LimitReader(r, int64(limit)+1)
	}
	into := bytes.NewBuffer(dst)
	n, err := into.ReadFrom(r)
	if err != nil {
		return nil, err
	}
	if limit > 0 && n > int64(limit) {
		return nil, tooLarge()
	}
	return into.Bytes(), nil
}

func decompressSnappy(dst, data []byte, limit int, tooLarge func() error) ([]byte, error) {
	if limit <= 0 {
		return snappy.Decode(data)
	}
	for size := max(cap(dst), 4<<10, 4*len(data)); ; size *= 2 {
		size = min(size, limit)
		if cap(dst) < size {
			dst = make([]byte, 0, size)
		}
		out, err := snappy.DecodeCapped(dst[:0:size], data)
		if !errors.Is(err, snappy.ErrDstTooSmall) {
			return out, err
		}
		if size == limit {
			return nil, tooLarge()
		}
	}
}
