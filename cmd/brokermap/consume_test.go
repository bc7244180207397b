package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

// startTopic starts a cluster with a topic t of so many partitions, and returns
// its addresses for -brokers.
func startTopic(t *testing.T, partitions int32, options ...kfake.Opt) string {
	t.Helper()
	c, err := kafkatest.Start(kafkatest.Config{Topics: map[string]int32{"t": partitions}, Options: options})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return strings.Join(c.Addrs(), ",")
}

// write writes records to topic t.
func write(t *testing.T, brokers string, records []*kgo.Record, options ...kgo.Opt) {
	t.Helper()
	cl := writer(t, brokers, options...)
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func writer(t *testing.T, brokers string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(strings.Split(brokers, ",")...),
		kgo.DefaultProduceTopic("t"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// numbered makes n records whose values are their numbers.
func numbered(partition int32, n int) []*kgo.Record {
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Partition: partition, Value: fmt.Append(nil, i)})
	}
	return records
}

// consumeAll runs consume and returns what it prints, line by line.
func consumeAll(t *testing.T, brokers, flags string) []string {
	t.Helper()
	args := append([]string{"consume", "-brokers", brokers, "-topic", "t"}, strings.Fields(flags)...)
	status, stdout, stderr := invoke(t.Context(), args...)
	if status != 0 || stderr != "" {
		t.Fatalf("consume %s: status %d, stderr %q", flags, status, stderr)
	}
	return strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
}

// odd makes records that are not only text; a record is of one use.
func odd() []*kgo.Record {
	return []*kgo.Record{
		{Partition: 1, Timestamp: time.UnixMilli(1_700_000_000_123), Key: []byte("k"), Value: []byte("plain \"text\" é")},
		{Partition: 1, Timestamp: time.UnixMilli(1_700_000_000_124), Value: []byte("a\tb\nc\\d\x00\xff")},
		{Partition: 1, Timestamp: time.UnixMilli(1_700_000_000_125), Key: []byte{0xfe}, Headers: []kgo.RecordHeader{
			{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte{0xff}}, {Key: "none"},
		}},
	}
}

func TestConsumeText(t *testing.T) {
	brokers := startTopic(t, 2)
	write(t, brokers, odd())
	want := []string{
		"1\t0\t2023-11-14T22:13:20.123Z\tk\tplain \"text\" é",
		"1\t1\t2023-11-14T22:13:20.124Z\t\t" + `a\tb\nc\\d\x00\xff`,
		"1\t2\t2023-11-14T22:13:20.125Z\t" + `\xfe` + "\t",
	}
	got := consumeAll(t, brokers, "")
	if len(got) != len(want) {
		t.Fatalf("printed %q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("line %d is %q, want %q", i, got[i], want[i])
		}
	}
}

func TestConsumeJSON(t *testing.T) {
	brokers := startTopic(t, 2)
	write(t, brokers, odd())
	want := []string{
		`{"topic":"t","partition":1,"offset":0,"time":"2023-11-14T22:13:20.123Z","key":"k","value":"plain \"text\" é"}`,
		`{"topic":"t","partition":1,"offset":1,"time":"2023-11-14T22:13:20.124Z","key":null,"value":null,"value_base64":"YQliCmNcZAD/"}`,
		`{"topic":"t","partition":1,"offset":2,"time":"2023-11-14T22:13:20.125Z","key":null,"key_base64":"/g==","value":null,` +
			`"headers":[{"key":"h","value":"1"},{"key":"h","value":null,"value_base64":"/w=="},{"key":"none","value":null}]}`,
	}
	for i, got := range consumeAll(t, brokers, "-format json") {
		if got != want[i] {
			t.Errorf("line %d is\n%s, want\n%s", i, got, want[i])
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("line %d is no JSON: %s", i, got)
		}
	}
}

func TestConsumeFromAndTo(t *testing.T) {
	brokers := startTopic(t, 3)
	write(t, brokers, append(numbered(0, 10), numbered(2, 5)...))
	for flags, want := range map[string]string{
		"-partitions 0":                         "0/0 0/1 0/2 0/3 0/4 0/5 0/6 0/7 0/8 0/9",
		"-partitions 0 -offset 8":               "0/8 0/9",
		"-partitions 0,1 -offset -3":            "0/7 0/8 0/9",
		"-partitions 2 -offset -100":            "2/0 2/1 2/2 2/3 2/4",
		"-partitions 1-2 -count 2":              "2/0 2/1",
		"-partitions 2 -count 2 -follow":        "2/0 2/1",
		"-partitions 2 -offset 5":               "",
		"-offset newest":                        "",
		"-partitions 1":                         "",
		"-partitions 0 -offset -1 -format text": "0/9",
	} {
		var got []string
		for _, line := range consumeAll(t, brokers, flags) {
			if f := strings.Split(line, "\t"); len(f) == 5 {
				got = append(got, f[0]+"/"+f[1])
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("consume %s printed %q, want %q", flags, got, want)
		}
	}
	if got := len(consumeAll(t, brokers, "")); got != 15 {
		t.Errorf("consume printed %d lines of three partitions, want 15", got)
	}
}

// What a partition has last may be no record: a transaction's end.
func TestConsumeEndsAfterTransactions(t *testing.T) {
	brokers := startTopic(t, 1)
	cl := writer(t, brokers, kgo.TransactionalID("x"))
	defer cl.Close()
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		value := map[kgo.TransactionEndTry]string{kgo.TryCommit: "committed", kgo.TryAbort: "aborted"}[end]
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	for flags, want := range map[string]string{"": "committed aborted", "-committed": "committed"} {
		var got []string
		for _, line := range consumeAll(t, brokers, flags) {
			got = append(got, line[strings.LastIndexByte(line, '\t')+1:])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("consume %s printed %q, want %q", flags, got, want)
		}
	}
}

func TestConsumeFollowsUntilInterrupted(t *testing.T) {
	brokers := startTopic(t, 2)
	write(t, brokers, numbered(0, 1))
	ctx, interrupt := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		ended <- run(ctx, []string{"consume", "-brokers", brokers, "-topic", "t", "-follow"}, w, &stderr)
		_ = w.Close()
	}()
	lines := bufio.NewScanner(r)
	for i := range 3 {
		if !lines.Scan() {
			t.Fatalf("it ended at line %d: %v", i, lines.Err())
		}
		write(t, brokers, numbered(1, 1))
	}
	interrupt()
	for lines.Scan() { // what was being printed
	}
	if status := <-ended; status != 0 || stderr.Len() > 0 {
		t.Errorf("interrupted: status %d, stderr %q, want 0 and nothing", status, &stderr)
	}
}

func TestConsumeStatusLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var printed atomic.Int64
		s := newStatus(&out, &printed, func() int64 { return 7 })
		told := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := out.String(); got != want {
				t.Errorf("told %q, want %q", got, want)
			}
			out.Reset()
		}
		s.hide()
		told("") // there is nothing to take away
		printed.Store(10)
		time.Sleep(statusPeriod)
		told(clearLine + "10 records, 10/s, lag 7")
		s.hide()
		told(clearLine)
		printed.Store(15)
		time.Sleep(statusPeriod)
		told(clearLine + "15 records, 5/s, lag 7")
		s.end()
		told(clearLine + "15 records in 2.0 s, 8/s; lag 7\n")
	})
}

// A broken pipe is an end, and no success.
func TestConsumeToNobody(t *testing.T) {
	brokers := startTopic(t, 1)
	write(t, brokers, numbered(0, 3))
	var stderr bytes.Buffer
	status := run(t.Context(), []string{"consume", "-brokers", brokers, "-topic", "t"}, closedWriter{}, &stderr)
	if status != 1 || !strings.Contains(stderr.String(), "stdout") {
		t.Errorf("status %d, stderr %q, want 1 and a line that names stdout", status, &stderr)
	}
}

func TestConsumeWithTLSAndSASL(t *testing.T) {
	server, ca := certificate(t)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\nand no more"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		t.Run(mechanism, func(t *testing.T) {
			brokers := startTopic(t, 1, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{server}}),
				kfake.EnableSASL(), kfake.Superuser(strings.ToUpper(mechanism), "u", "secret"), kfake.Superuser("PLAIN", "writer", "w"))
			write(t, brokers, numbered(0, 2), kgo.DialTLSConfig(&tls.Config{InsecureSkipVerify: true}),
				kgo.SASL(plain.Auth{User: "writer", Pass: "w"}.AsMechanism()))
			login := "-sasl " + mechanism + " -user u -password-file " + password
			if got := consumeAll(t, brokers, login+" -tls-ca "+ca); len(got) != 2 {
				t.Errorf("printed %q, want two lines", got)
			}
			t.Setenv(passwordVariable, "secret")
			if got := consumeAll(t, brokers, "-tls-insecure -user u -sasl "+mechanism); len(got) != 2 {
				t.Errorf("printed %q, want two lines", got)
			}
			t.Setenv(passwordVariable, "wrong")
			for flags, want := range map[string]string{
				"-tls-insecure -user u -sasl " + mechanism: "", // refused by the broker, in its words
				login + " -tls": "certificate",
			} {
				args := append([]string{"consume", "-brokers", brokers, "-topic", "t"}, strings.Fields(flags)...)
				status, stdout, stderr := invoke(t.Context(), args...)
				if status != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, want) {
					t.Errorf("consume %s: status %d, stdout %q, stderr %q, want 2 and one line with %q", flags, status, stdout, stderr, want)
				}
			}
		})
	}
}

func TestConsumeBadInput(t *testing.T) {
	brokers := startTopic(t, 2)
	write(t, brokers, numbered(0, 3))
	nobody := closedPort(t)
	file := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(passwordVariable, "")
	here := "-brokers " + brokers + " -topic t "
	for args, want := range map[string][]string{
		"":                                                  {"-brokers", "must be"},
		"-brokers " + brokers:                               {"-topic", "must be"},
		"-brokers x -topic t":                               {"-brokers", `"x"`, "host:port"},
		"-brokers " + brokers + " -topic a/b":               {"-topic", `"a/b"`, "249"},
		"-brokers " + nobody + " -topic t":                  {nobody, "answers"},
		"-brokers " + brokers + " -topic other":             {"topic other"},
		here + "now":                                        {`"now"`, "flags only"},
		here + "-partitions 2":                              {"no partition 2"},
		here + "-partitions x":                              {"-partitions", `"x"`, "range"},
		here + "-partitions 2-1":                            {"-partitions", `"2-1"`, "range"},
		here + "-partitions 0,,1":                           {"-partitions", `""`, "range"},
		here + "-partitions 0-9999999":                      {"-partitions", "1000000"},
		here + "-offset last":                               {"-offset", `"last"`, "oldest, newest"},
		here + "-offset -0":                                 {"-offset", `"-0"`, "oldest, newest"},
		here + "-offset 4":                                  {"-offset", "4", "0 to 3"},
		here + "-offset 4 -follow":                          {"-offset", "4", "0 to 3"},
		here + "-count 0":                                   {"-count", `"0"`, "above 0"},
		here + "-format xml":                                {"-format", `"xml"`, "text or json"},
		here + "-follow=perhaps":                            {"-follow", `"perhaps"`, "true or false"},
		here + "-sasl kerberos":                             {"-sasl", `"kerberos"`, "scram-sha-512"},
		here + "-sasl plain":                                {"-sasl", "-user"},
		here + "-sasl plain -user u":                        {"-sasl", "-password-file", passwordVariable},
		here + "-sasl plain -user u -password-file " + file: {"-sasl", "password"},
		here + "-sasl plain -user u -password-file /no/such/file": {"-password-file", "/no/such/file"},
		here + "-user u":                                 {"-user", "-sasl"},
		here + "-tls-ca /no/such/file":                   {"-tls-ca", "/no/such/file"},
		here + "-tls-ca " + file:                         {"-tls-ca", "PEM"},
		here + "-tls-cert " + file:                       {"-tls-key", "both"},
		here + "-tls-cert " + file + " -tls-key " + file: {"-tls-cert", "PEM"},
	} {
		status, stdout, stderr := invoke(t.Context(), append([]string{"consume"}, strings.Fields(args)...)...)
		if status != 2 || stdout != "" || !strings.HasPrefix(stderr, "brokermap consume: ") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("consume %s: status %d, stdout %q, stderr %q, want 2, nothing and one line", args, status, stdout, stderr)
		}
		for _, w := range want {
			if !strings.Contains(stderr, w) {
				t.Errorf("consume %s: stderr %q does not say %q", args, stderr, w)
			}
		}
	}
	for _, args := range []string{"consume -h", "help consume"} {
		if status, stdout, stderr := invoke(t.Context(), strings.Fields(args)...); status != 0 || stdout != consumeUsage || stderr != "" {
			t.Errorf("%s: status %d, stdout %q, stderr %q", args, status, stdout, stderr)
		}
	}
}

// certificate makes a certificate of a broker on loopback, that signs itself, and
// returns what a broker needs and a file for -tls-ca.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}
