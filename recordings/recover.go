package recordings

import (
	"errors"
	"fmt"
	"os"
	"time"

	"hotline/sip/media"
)

// Recover makes the header of a file agree with the file's size, for a Tape
// that was never closed: the process was killed, or the machine lost power.
// The file of a killed process is valid as it is; Recover brings back what was
// written after the last header. Recovering a file twice, or one that was
// closed, changes nothing. A file that is not a recording is left alone and is
// an error.
func Recover(file string) (Summary, error) {
	s, err := repair(file)
	if err != nil {
		return Summary{}, fmt.Errorf("recover recording %s: %w", file, err)
	}
	return s, nil
}

func repair(file string) (s Summary, err error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return Summary{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return Summary{}, err
	}

	var law media.Codec
	claimed, frames := int64(-1), int64(0)
	// An empty file was created and killed before its header: an empty recording.
	if st.Size() > 0 {
		if law, claimed, err = readHeader(f); err != nil {
			return Summary{}, err
		}
		frames = min((st.Size()-headerSize)/frameSize, maxFrames)
	}
	size := headerSize + frames*frameSize
	if claimed != frames || st.Size() != size {
		h := header(law, frames)
		if _, err := f.WriteAt(h[:], 0); err != nil {
			return Summary{}, err
		}
		// Half a frame at the end would be a wrong channel for whoever appends.
		if err := f.Truncate(size); err != nil {
			return Summary{}, err
		}
		if err := f.Sync(); err != nil {
			return Summary{}, err
		}
	}
	return Summary{File: file, Length: length(frames), Bytes: size}, nil
}

// length of so many frames.
func length(frames int64) time.Duration {
	return time.Duration(frames) * (time.Second / rate)
}
