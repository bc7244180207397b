package main

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"hash"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// connection is what the flags say about how to reach a cluster.
type connection struct {
	brokers []string

	tls          bool
	ca           string // file
	cert, key    string // files
	insecure     bool
	sasl         string // mechanism, "": none
	user         string
	passwordFile string
}

const connectionUsage = `
  -brokers h:p,...      some of the cluster's brokers, separated by commas
  -tls                  connect with TLS; any flag of -tls-... implies it
  -tls-ca file          PEM; who must have signed the brokers' certificates
                        (default: whom the system trusts)
  -tls-cert file        PEM; this client's certificate, with -tls-key
  -tls-key file         PEM; its key
  -tls-insecure         believe any certificate
  -sasl mechanism       plain, scram-sha-256 or scram-sha-512, with -user
  -user name
  -password-file file   its first line is the password
                        (default: the environment's BROKERMAP_PASSWORD)
`

// register adds the flags.
func (c *connection) register(fs *flag.FlagSet) {
	fs.Func("brokers", "", func(s string) (err error) {
		c.brokers, err = parseBrokers(s)
		return err
	})
	fs.BoolFunc("tls", "", boolFlag(&c.tls))
	fs.BoolFunc("tls-insecure", "", boolFlag(&c.insecure))
	fs.StringVar(&c.ca, "tls-ca", "", "")
	fs.StringVar(&c.cert, "tls-cert", "", "")
	fs.StringVar(&c.key, "tls-key", "", "")
	fs.Func("sasl", "", func(s string) error {
		if _, ok := mechanisms[strings.ToLower(s)]; !ok {
			return errors.New("it must be plain, scram-sha-256 or scram-sha-512")
		}
		c.sasl = strings.ToLower(s)
		return nil
	})
	fs.StringVar(&c.user, "user", "", "")
	fs.StringVar(&c.passwordFile, "password-file", "", "")
}

var mechanisms = map[string]sarama.SASLMechanism{
	"plain":         sarama.SASLTypePlaintext,
	"scram-sha-256": sarama.SASLTypeSCRAMSHA256,
	"scram-sha-512": sarama.SASLTypeSCRAMSHA512,
}

// passwordVariable of the environment has the password where no file does.
const passwordVariable = "BROKERMAP_PASSWORD"

// config returns the configuration of a client. Its timeouts are those of somebody
// who waits in front of a terminal.
func (c *connection) config() (*sarama.Config, error) {
	conf := sarama.NewConfig()
	conf.Version = sarama.V4_0_0_0
	conf.ClientID = "brokermap"
	conf.Net.DialTimeout = 5 * time.Second
	conf.Net.ReadTimeout = 10 * time.Second
	conf.Metadata.Retry.Max = 1
	conf.Metadata.AllowAutoTopicCreation = false // to look at a topic must not make it
	conf.Consumer.Return.Errors = true
	if err := c.configureTLS(conf); err != nil {
		return nil, err
	}
	return conf, c.configureSASL(conf)
}

func (c *connection) configureTLS(conf *sarama.Config) error {
	if !c.tls && c.ca == "" && c.cert == "" && c.key == "" && !c.insecure {
		return nil
	}
	if (c.cert == "") != (c.key == "") {
		return errors.New("flags -tls-cert and -tls-key: there must be both or none")
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.insecure} //nolint:gosec // who asks for it
	if c.ca != "" {
		pem, err := os.ReadFile(c.ca)
		if err != nil {
			return fmt.Errorf("flag -tls-ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("flag -tls-ca: %s has no certificate in PEM", c.ca)
		}
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return fmt.Errorf("flags -tls-cert and -tls-key: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	conf.Net.TLS.Enable, conf.Net.TLS.Config = true, t
	return nil
}

func (c *connection) configureSASL(conf *sarama.Config) error {
	if c.sasl == "" {
		if c.user != "" || c.passwordFile != "" {
			return errors.New("flags -user and -password-file: they need -sasl")
		}
		return nil
	}
	if c.user == "" {
		return errors.New("flag -sasl: it needs -user")
	}
	password := os.Getenv(passwordVariable)
	if c.passwordFile != "" {
		text, err := os.ReadFile(c.passwordFile)
		if err != nil {
			return fmt.Errorf("flag -password-file: %w", err)
		}
		password, _, _ = strings.Cut(string(text), "\n")
		password = strings.TrimSuffix(password, "\r")
	}
	if password == "" {
		return fmt.Errorf("flag -sasl: it needs a password, in -password-file or in %s", passwordVariable)
	}
	s := &conf.Net.SASL
	s.Enable, s.Mechanism, s.User, s.Password = true, mechanisms[c.sasl], c.user, password
	switch c.sasl {
	case "scram-sha-256":
		s.SCRAMClientGeneratorFunc = scramClient(sha256.New)
	case "scram-sha-512":
		s.SCRAMClientGeneratorFunc = scramClient(sha512.New)
	}
	return nil
}

func scramClient(h func() hash.Hash) func() sarama.SCRAMClient {
	return func() sarama.SCRAMClient { return &scramConversation{hash: h} }
}

// scramConversation has sarama speak SCRAM (RFC 5802) through package scram.
type scramConversation struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

func (c *scramConversation) Begin(user, password, authzID string) error {
	client, err := c.hash.NewClient(user, password, authzID)
	if err == nil {
		c.ClientConversation = client.NewConversation()
	}
	return err
}
