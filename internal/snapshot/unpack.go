package snapshot

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
)

// What a snapshot that podpath wrote shrinks to is about an eighth, at best a
// fiftieth. Beyond this it was made to burst.
const (
	maxRatio  = 256
	freeBytes = 16 << 20 // that may be unpacked from whatever there is
	minValue  = 6        // bytes that a value takes on average, with its name; what podpath writes takes twelve
	freeCount = 100_000  // values that may be shorter
	chunk     = 1 << 20
)

// unpack reads the whole snapshot, gzipped or not, within its limits. They are
// held while it is read: what bursts is left before it takes the memory.
func unpack(r io.Reader, l Limits) ([]byte, error) {
	packed := &counter{r: r, left: l.Compressed}
	in := bufio.NewReader(packed)
	source, err := content(in)
	if err != nil {
		return nil, err
	}
	u := &unpacked{l: l, packed: packed, zipped: source != io.Reader(in)}
	err = u.read(source)
	switch {
	case packed.over:
		return nil, fmt.Errorf("it is larger than %d MiB", l.Compressed>>20)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("it is cut off after %d bytes of content", u.size)
	case errors.Is(err, errLimit):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("not readable after %d bytes of content: %w", u.size, err)
	}
	if u.zipped {
		if _, err := in.ReadByte(); err == nil {
			return nil, errors.New("something follows the gzip stream")
		}
	}
	return slices.Concat(u.chunks...), nil
}

// content is what the file holds, taken out of its gzip stream if it is in one.
func content(in *bufio.Reader) (io.Reader, error) {
	magic, err := in.Peek(2)
	if err != nil && len(magic) == 0 {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, err
	}
	if !slices.Equal(magic, []byte{0x1f, 0x8b}) {
		return in, nil
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("not gzip: %w", err)
	}
	z.Multistream(false) // one member: what follows is somebody's addition
	return z, nil
}

// errLimit is a limit that was passed.
var errLimit = errors.New("too much")

type limitError struct{ text string }

func (e *limitError) Error() string   { return e.text }
func (e *limitError) Is(t error) bool { return t == errLimit }

func over(format string, args ...any) error { return &limitError{fmt.Sprintf(format, args...)} }

// unpacked is what has been read.
type unpacked struct {
	l      Limits
	packed *counter
	zipped bool
	chunks [][]byte
	size   int64
	scan   scan
}

func (u *unpacked) read(source io.Reader) error {
	for {
		buf := make([]byte, chunk)
		n, err := io.ReadFull(source, buf)
		u.chunks = append(u.chunks, buf[:n])
		u.size += int64(n)
		u.scan.bytes(buf[:n])
		if bad := u.check(); bad != nil {
			return bad
		}
		switch {
		case err == io.EOF:
			return nil
		case err == io.ErrUnexpectedEOF && n < len(buf):
			// ReadFull says so of a short last piece, and gzip of one that is cut off.
			if _, again := source.Read(make([]byte, 1)); again != io.EOF {
				return again
			}
			return nil
		case err != nil:
			return err
		}
	}
}

func (u *unpacked) check() error {
	read := u.l.Compressed - u.packed.left
	switch {
	case u.size > u.l.Uncompressed:
		return over("unpacked it is larger than %d MiB", u.l.Uncompressed>>20)
	case u.zipped && u.size > freeBytes && u.size > maxRatio*read:
		return over("it unpacks to more than %d times its size: that is no snapshot, it was made to burst", maxRatio)
	case u.scan.values > u.l.Elements:
		return over("more than %d values", u.l.Elements)
	case u.scan.values > freeCount && u.size < minValue*int64(u.scan.values):
		return over("%d values in %d bytes: that is no snapshot, it was made to burst", u.scan.values, u.size)
	case u.scan.longest > 6*u.l.String: // six bytes may stand for one
		return over("a string of more than %d bytes; %d are allowed", u.scan.longest/6, u.l.String)
	}
	return nil
}

// scan counts what a JSON text would build, at the pace of reading it: no more
// than about one value for each of the separators outside strings.
type scan struct {
	values, run, longest int
	text, escaped        bool
}

func (s *scan) bytes(data []byte) {
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case s.escaped:
			s.escaped = false
			s.run++
		case s.text:
			n := bytes.IndexAny(data[i:], `"\`)
			if n < 0 {
				n = len(data) - i
			}
			s.run += n
			s.longest = max(s.longest, s.run)
			if i += n; i < len(data) {
				s.escaped, s.text = data[i] == '\\', data[i] == '\\'
			}
		case c == '"':
			s.text, s.run = true, 0
		case c == ',' || c == ':' || c == '[' || c == '{':
			s.values++
		}
	}
}

// counter lets only so many bytes pass.
type counter struct {
	r    io.Reader
	left int64
	over bool
}

func (c *counter) Read(p []byte) (int, error) {
	if c.left < 0 {
		c.over = true
		return 0, errors.New("too large")
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left+1)])
	if c.left -= int64(n); c.left < 0 {
		c.over = true
		return 0, errors.New("too large")
	}
	return n, err
}
