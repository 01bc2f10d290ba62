package sip

import (
	"testing"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	sipmsg.SetTimers(50*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond)
	sipmsg.Timer_D = 500 * time.Millisecond
	goleak.VerifyTestMain(m)
}
