package stack_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/agentopia/realtime-proxy/supabase/stack"
)

func TestMain(m *testing.M) {
	release := stack.Hold()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		release()
		os.Exit(code)
	}))
}
