package calllog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// identity says as whom Postgres runs, since it refuses root:
//
//   - an ordinary user: as ourselves;
//   - root who can become others: as the user postgres, else nobody;
//   - root who can't, as in a user namespace that maps root alone, or without
//     the capabilities: in a user namespace of its own, in which our uid bears
//     that user's number. An ordinary user without a passwd entry, which initdb
//     asks for, gets the same.
//
// In each case Postgres is given its folders as open descriptors and finds them
// under /proc/self/fd. So it needs no right on the folders above them, which may
// be closed to it, and no limit on the length of a path concerns it.
type identity struct {
	credential *syscall.Credential // nil: as ourselves
	nested     bool                // in a user namespace of its own
	uid, gid   int                 // as Postgres sees itself
	owner      int                 // uid of its files, as we see them
}

func postgresIdentity() (identity, error) {
	uid, gid := os.Geteuid(), os.Getegid()
	if uid != 0 {
		if _, err := user.LookupId(strconv.Itoa(uid)); err == nil {
			return identity{uid: uid, gid: gid, owner: uid}, nil
		}
	}
	var as *user.User
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil && u.Uid != "0" {
			as = u
			break
		}
	}
	if as == nil {
		return identity{}, errors.New("no user postgres or nobody on this machine, and Postgres refuses to run as root: make one (`useradd --system postgres`)")
	}
	id := identity{owner: uid, nested: true}
	id.uid, _ = strconv.Atoi(as.Uid)
	id.gid, _ = strconv.Atoi(as.Gid)
	if uid == 0 && canBecomeOthers() && mapped("uid_map", id.uid) && mapped("gid_map", id.gid) {
		id.nested, id.owner = false, id.uid
		id.credential = &syscall.Credential{Uid: uint32(id.uid), Gid: uint32(id.gid)}
		if b, _ := os.ReadFile("/proc/self/setgroups"); strings.TrimSpace(string(b)) == "deny" {
			id.credential.NoSetGroups = true
		}
	}
	return id, nil
}

// canBecomeOthers: do we have CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETGID
// and CAP_SETUID (capability.h: 0, 1, 5, 6, 7)?
func canBecomeOthers() bool {
	const needed = 1<<0 | 1<<1 | 1<<5 | 1<<6 | 1<<7
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && caps&needed == needed
		}
	}
	return false
}

// mapped: does this id exist in our user namespace (user_namespaces(7))?
func mapped(file string, id int) bool {
	b, err := os.ReadFile("/proc/self/" + file)
	if err != nil {
		return true // a kernel without user namespaces
	}
	for line := range strings.Lines(string(b)) {
		var inside, outside, length int64
		if n, _ := fmt.Sscan(line, &inside, &outside, &length); n == 3 && int64(id) >= inside && int64(id) < inside+length {
			return true
		}
	}
	return false
}

// prepare makes cmd run as this identity, in a session of its own so that Ctrl-C
// in our terminal reaches only us, and with a signal when the thread that starts
// it ends. paths are the folders as the child sees them; done releases them after
// the start (or the end) of the command.
func (id identity) prepare(cmd *exec.Cmd, onDeath syscall.Signal, folders ...string) (paths []string, done func(), err error) {
	done = func() {
		for _, f := range cmd.ExtraFiles {
			f.Close()
		}
	}
	for _, folder := range folders {
		f, err := os.Open(folder)
		if err != nil {
			done()
			return nil, nil, err
		}
		paths = append(paths, fmt.Sprintf("/proc/self/fd/%d", 3+len(cmd.ExtraFiles)))
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.Dir = "/" // where we are may be closed to it
	cmd.Env = privateEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: onDeath, Credential: id.credential}
	if id.nested {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: id.uid, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: id.gid, HostID: os.Getegid(), Size: 1}}
	}
	return paths, done, nil
}

// own makes a folder and what is in it belong to the identity.
func (id identity) own(folder string) error {
	fi, err := os.Stat(folder)
	if err != nil {
		return err
	}
	owner := int(fi.Sys().(*syscall.Stat_t).Uid)
	if owner == id.owner {
		return nil
	}
	if id.credential == nil {
		return fmt.Errorf("%s belongs to user %d, and we are user %d: run hotline as that user, or `chown -R %d %s`", folder, owner, id.owner, id.owner, folder)
	}
	return filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, id.uid, id.gid)
	})
}

// hint says what to do about an error of starting a program.
func (id identity) hint(err error) string {
	switch {
	case id.nested && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EACCES)):
		return " (Postgres refuses to run as root, and here root can neither become another user nor make a user namespace: " +
			"run hotline as an ordinary user, or give the DSN of a Postgres server as `database`)"
	case errors.Is(err, syscall.EACCES):
		return fmt.Sprintf(" (user %d must be able to run the Postgres binaries)", id.uid)
	}
	return ""
}

// orphans are the processes of a server on our cluster: named postgres, and with
// our cluster_name in the title, or with our cluster as working directory. The
// second sees also a server that somebody started by hand, and can't be read
// across user namespaces; the first can.
func (p *Private) orphans() []int {
	var folders []os.FileInfo
	for _, folder := range []string{p.cluster(), p.halfMade()} {
		if fi, err := os.Stat(folder); err == nil {
			folders = append(folders, fi)
		}
	}
	ours := func(proc string) bool {
		if comm, err := os.ReadFile(proc + "/comm"); err != nil || string(comm) != "postgres\n" {
			return false
		}
		if title, err := os.ReadFile(proc + "/cmdline"); err == nil && bytes.Contains(title, []byte(p.name())) {
			return true
		}
		cwd, err := os.Stat(proc + "/cwd")
		if err != nil {
			return false
		}
		for _, folder := range folders {
			if os.SameFile(cwd, folder) {
				return true
			}
		}
		return false
	}
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !ours("/proc/"+e.Name()) {
			continue
		}
		// A zombie has ended; only its parent can make it go.
		if stat, err := os.ReadFile("/proc/" + e.Name() + "/stat"); err != nil || bytes.Contains(stat, []byte(") Z ")) {
			continue
		}
		pids = append(pids, pid)
	}
	return pids
}
