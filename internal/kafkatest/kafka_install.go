package kafkatest

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed" // the list of jars
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kafkaVersion is the version that jars.sha256 lists the jars of.
const kafkaVersion = "4.1.0"

// jarSums lists the jars of Kafka and of what it needs with their SHA-256, as
// sha256sum writes it: what Maven brings must be this, and nothing else.
//
//go:embed jars.sha256
var jarSums string

// pom has Maven collect them.
const pom = `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>kafkatest</groupId><artifactId>kafkatest</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>` + kafkaVersion + `</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`

// installation is Kafka in the user's cache, brokermap/kafka-<version>:
//
//	lib/                   the jars, some 43 MB
//	bootstrap.checkpoint   what StorageTool writes; the version alone decides it
//	classes-<hash>.jsa     loaded classes for one Java: a node starts in half the time
//
// Each part appears by a rename, under a lock; what is removed is made again.
type installation struct {
	java      string
	classPath string
	archive   string // "": none
	bootstrap []byte
	dir       string
}

// install finds the installation, and makes what of it is not there.
func install(ctx context.Context, logf func(string, ...any)) (*installation, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	inst := &installation{java: java, dir: filepath.Join(cache, "brokermap", "kafka-"+kafkaVersion)}
	if err := os.MkdirAll(inst.dir, 0o755); err != nil {
		return nil, err
	}
	held, err := os.OpenFile(filepath.Join(inst.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer held.Close() //nolint:errcheck // nothing was written
	if err := lock(held); err != nil {
		return nil, err
	}
	p := newParent()
	defer p.close()
	if err := inst.findJars(ctx, p, logf); err != nil {
		return nil, err
	}
	if err := inst.findBootstrap(ctx, p); err != nil {
		return nil, err
	}
	if err := inst.findArchive(ctx, p, logf); err != nil {
		logf("every node starts more slowly, without an archive of its classes: %v", err)
	}
	return inst, nil
}

func findJava() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		return exec.LookPath(filepath.Join(home, "bin", "java"))
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return "", fmt.Errorf("there is no java: install Java 17 or later: %w", err)
	}
	return java, nil
}

// findJars has Maven fetch the jars where they are not there, and checks them.
func (inst *installation) findJars(ctx context.Context, p *parent, logf func(string, ...any)) error {
	lib := filepath.Join(inst.dir, "lib")
	if _, err := os.Stat(lib); errors.Is(err, os.ErrNotExist) {
		mvn, err := exec.LookPath("mvn")
		if err != nil {
			return fmt.Errorf("it is not in %s, and there is no mvn to fetch it: install Maven: %w", lib, err)
		}
		logf("fetching Apache Kafka %s with Maven", kafkaVersion)
		err = inst.make(lib, func(tmp string) (string, error) {
			if err := os.WriteFile(filepath.Join(tmp, "pom.xml"), []byte(pom), 0o600); err != nil {
				return "", err
			}
			made := filepath.Join(tmp, "lib")
			cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "--strict-checksums", "dependency:copy-dependencies", "-DoutputDirectory="+made)
			cmd.Dir = tmp
			return made, p.run(cmd)
		})
		if err != nil {
			return err
		}
	}
	jars, err := checkJars(lib, jarSums)
	if err != nil {
		return fmt.Errorf("%w; remove %s to have it fetched again", err, lib)
	}
	inst.classPath = strings.Join(jars, string(os.PathListSeparator))
	return nil
}

// checkJars returns the paths of the jars that sums lists, in its order, if they
// are what it says and all that lib has.
func checkJars(lib, sums string) ([]string, error) {
	var jars []string
	lines := bufio.NewScanner(strings.NewReader(sums))
	for lines.Scan() {
		want, name, _ := strings.Cut(lines.Text(), "  ")
		path := filepath.Join(lib, name)
		got, err := sumOf(path)
		if err != nil {
			return nil, err
		}
		if got != want {
			return nil, fmt.Errorf("%s has the SHA-256 %s, not %s", path, got, want)
		}
		jars = append(jars, path)
	}
	there, err := os.ReadDir(lib)
	if err != nil {
		return nil, err
	}
	for _, f := range there {
		if path := filepath.Join(lib, f.Name()); !slices.Contains(jars, path) {
			return nil, fmt.Errorf("%s is no part of Apache Kafka %s", path, kafkaVersion)
		}
	}
	return jars, nil
}

func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// make has build make a file or directory, and puts it in its place.
func (inst *installation) make(place string, build func(tmp string) (made string, err error)) error {
	tmp, err := os.MkdirTemp(inst.dir, "tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // a leftover in the cache
	made, err := build(tmp)
	if err != nil {
		return err
	}
	return os.Rename(made, place)
}

// findBootstrap reads the one file that StorageTool makes and that is not
// written by hand.
func (inst *installation) findBootstrap(ctx context.Context, p *parent) error {
	place := filepath.Join(inst.dir, "bootstrap.checkpoint")
	if _, err := os.Stat(place); errors.Is(err, os.ErrNotExist) {
		err := inst.make(place, func(tmp string) (string, error) {
			n := &node{id: controllerID, port: 9, dir: tmp} // no port is opened
			if err := writeProperties(n.propertiesFile(), n.role(9)); err != nil {
				return "", err
			}
			args := append(inst.javaArgs(128), "kafka.tools.StorageTool", "format", "-t", randomID(), "-c", n.propertiesFile())
			return filepath.Join(n.data(), "bootstrap.checkpoint"), p.run(exec.CommandContext(ctx, inst.java, args...))
		})
		if err != nil {
			return err
		}
	}
	var err error
	inst.bootstrap, err = os.ReadFile(place)
	return err
}

// findArchive has a node that is broker and controller in one start, and its Java
// write down the classes that it loaded.
func (inst *installation) findArchive(ctx context.Context, p *parent, logf func(string, ...any)) error {
	java, err := exec.CommandContext(ctx, inst.java, "-Xinternalversion").Output()
	if err != nil {
		return err
	}
	// An archive is of one Java and one class path.
	sum := sha256.Sum256(append(java, inst.classPath...))
	place := filepath.Join(inst.dir, "classes-"+hex.EncodeToString(sum[:6])+".jsa")
	if _, err := os.Stat(place); errors.Is(err, os.ErrNotExist) {
		logf("archiving Kafka's classes")
		err := inst.make(place, func(tmp string) (string, error) {
			made := filepath.Join(tmp, "classes.jsa")
			return made, inst.writeArchive(ctx, p, filepath.Join(tmp, "node"), made)
		})
		if err != nil {
			return err
		}
	}
	inst.archive = place
	return nil
}

func (inst *installation) writeArchive(ctx context.Context, p *parent, dir, archive string) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	n := &node{id: 0, port: ports[0], dir: dir, java: inst.java, parent: p}
	n.args = append([]string{"-XX:ArchiveClassesAtExit=" + archive}, inst.javaArgs(256)...)
	both := n.role(ports[1])
	maps.Copy(both, map[string]string{
		"process.roles":            "broker,controller",
		"controller.quorum.voters": fmt.Sprintf("0@127.0.0.1:%d", ports[1]),
		"listeners":                fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d", n.addr(), ports[1]),
	})
	if err := n.format(inst, randomID(), both); err != nil {
		return err
	}
	if err := n.launch(); err != nil {
		return err
	}
	defer n.kill()
	err = poll(ctx, func() error {
		if n.gone() {
			return errGone
		}
		c, err := net.Dial("tcp", n.addr()) // it listens when it is up
		if err == nil {
			err = c.Close()
		}
		return err
	})
	if err != nil {
		return err
	}
	return n.stop(patience)
}

// javaArgs returns Java's arguments up to the class: a small heap, and what makes
// a short life short.
func (inst *installation) javaArgs(heapMB int) []string {
	args := []string{
		"-Xms" + strconv.Itoa(min(heapMB, 128)) + "m", "-Xmx" + strconv.Itoa(heapMB) + "m",
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Djava.awt.headless=true",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients.NetworkClient=error",
		"-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
	}
	if inst.archive != "" {
		args = append(args, "-XX:SharedArchiveFile="+inst.archive, "-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off")
	}
	return append(args, "-cp", inst.classPath)
}

// errGone says that a process has ended that was to come up.
var errGone = errors.New("the process has ended")

// poll calls f until it returns nil, or errGone, or ctx ends, or patience.
func poll(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := f()
		if err == nil || errors.Is(err, errGone) {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}
