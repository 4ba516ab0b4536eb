package realtime_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

const unpublished = "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect parameters: [event: *, schema: public, table: messages, filters: [], select: nil]"

func TestChannelIsLiveOnlyAfterTheSystemMessage(t *testing.T) {
	bothVersions(t, nil, func(f *fixture) {
		p := f.srv.accept()
		join := p.expect(phoenix.EventJoin, topicA)
		f.expect(topicA, realtime.StateDialing, realtime.StateJoining)
		p.ok(join)
		f.expect(topicA, realtime.StateJoined)
		time.Sleep(3 * time.Second)
		f.quiet()
		p.subscribed(join)
		assert.NoError(t, f.expect(topicA, realtime.StateLive).Err)
	})
}

func TestEveryConfirmationIsReported(t *testing.T) {
	bothVersions(t, nil, func(f *fixture) {
		p, join := f.live()
		p.subscribed(join)
		f.expect(topicA, realtime.StateLive)
		p.subscribed(join)
		f.expect(topicA, realtime.StateLive)
	})
}

func TestChannelWithoutBindingsIsLiveOnItsReply(t *testing.T) {
	bothVersions(t, func(o *realtime.Options) { o.Channels[0].Bindings = nil }, func(f *fixture) {
		p := f.srv.accept()
		p.ok(p.expect(phoenix.EventJoin, topicA))
		f.expect(topicA, realtime.StateDialing, realtime.StateJoining, realtime.StateJoined, realtime.StateLive)
		time.Sleep(time.Hour)
		f.quiet()
	})
}

func TestJoinPayloadLeavesOutWhatIsUnused(t *testing.T) {
	full := realtime.Binding{Event: "UPDATE", Schema: "public", Table: "s", Filter: "status=neq.active", Select: []string{"id"}}
	for name, tc := range map[string]struct {
		adjust func(o *realtime.Options)
		want   string
	}{
		"jwt, private": {
			func(o *realtime.Options) { o.Channels[0].Private = true },
			`{"config":{"broadcast":{"ack":false,"self":false},"presence":{"key":"","enabled":false},"private":true,
			"postgres_changes":[{"event":"*","schema":"public","table":"messages"}]},"access_token":"` + secret + `"}`,
		},
		"opaque key": {
			func(o *realtime.Options) {
				o.Key = "sb_secret_abc.d"
				o.Channels[0].Bindings = []realtime.Binding{full, {Table: "t"}}
			},
			`{"config":{"broadcast":{"ack":false,"self":false},"presence":{"key":"","enabled":false},"private":false,
			"postgres_changes":[{"event":"UPDATE","schema":"public","table":"s","filter":"status=neq.active","select":["id"]},{"table":"t"}]}}`,
		},
		"no bindings": {
			func(o *realtime.Options) { o.Key, o.Channels[0].Bindings = "k", nil },
			`{"config":{"broadcast":{"ack":false,"self":false},"presence":{"key":"","enabled":false},"private":false,"postgres_changes":[]}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, tc.adjust, func(f *fixture) {
				join := f.srv.accept().expect(phoenix.EventJoin, topicA)
				assert.JSONEq(t, tc.want, string(join.Payload))
				assert.Equal(t, join.JoinRef, join.Ref)
			})
		})
	}
}

func TestRefusedJoinIsReportedAndRetriedSlowly(t *testing.T) {
	bothVersions(t, twoChannels, func(f *fixture) {
		start := time.Now()
		p := f.srv.accept()
		a, b := p.expect(phoenix.EventJoin, topicA), p.expect(phoenix.EventJoin, topicB)
		f.expect(topicA, realtime.StateDialing)
		f.expect(topicB, realtime.StateDialing)
		f.expect(topicA, realtime.StateJoining)
		f.expect(topicB, realtime.StateJoining)
		time.Sleep(5 * time.Second)
		p.refuse(a, "InvalidJWTToken: Token has expired 30 seconds ago")
		err := f.expect(topicA, realtime.StateErrored).Err
		var refused *realtime.JoinError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, realtime.JoinError{Topic: topicA, Code: "InvalidJWTToken", Reason: "Token has expired 30 seconds ago"}, *refused)
		assert.True(t, realtime.IsConfiguration(err))

		time.Sleep(6 * time.Second) // the second refusal is later than one JoinTimeout after its join
		p.refuse(b, "InitializingProjectConnection: Connecting to the project database")
		err = f.expect(topicB, realtime.StateErrored).Err
		assert.True(t, realtime.Temporary(err), err)
		p.expect(phoenix.EventJoin, topicB)
		assert.Equal(t, 11*time.Second+250*time.Millisecond, since(start))
		f.expect(topicB, realtime.StateJoining)

		p.expect(phoenix.EventLeave, topicB) // no answer this time
		f.expect(topicB, realtime.StateErrored)
		p.bring(topicB)
		f.expect(topicB, realtime.StateJoining, realtime.StateJoined, realtime.StateLive)
		p.expect(phoenix.EventJoin, topicA)
		assert.Equal(t, 5*time.Second+45*time.Second, since(start))
	})
}

func TestUnansweredJoinIsLeftAndSentAgain(t *testing.T) {
	bothVersions(t, nil, func(f *fixture) {
		start := time.Now()
		p := f.srv.accept()
		first := p.expect(phoenix.EventJoin, topicA)
		leave := p.expect(phoenix.EventLeave, topicA)
		assert.Equal(t, first.JoinRef, leave.JoinRef)
		assert.Equal(t, 10*time.Second, since(start))
		assert.ErrorIs(t, f.expect(topicA, realtime.StateDialing, realtime.StateJoining, realtime.StateErrored).Err, realtime.ErrJoinTimeout)

		second := p.expect(phoenix.EventJoin, topicA)
		assert.NotEqual(t, first.JoinRef, second.JoinRef)
		f.expect(topicA, realtime.StateJoining)
		p.ok(first) // late
		f.quiet()
		p.ok(second)
		f.expect(topicA, realtime.StateJoined)
		p.send(phoenix.Close(first.JoinRef, topicA))
		p.send(phoenix.ChannelError(first.JoinRef, topicA))
		if p.v == phoenix.V2 { // system messages of vsn 1.0.0 do not say which join they mean
			p.subscribed(first)
		}
		f.quiet()
		p.subscribed(second)
		f.expect(topicA, realtime.StateLive)
	})
}

func TestSubscriptionWithoutConfirmationIsTriedAgain(t *testing.T) {
	bubble(t, nil, func(f *fixture) {
		p := f.srv.accept()
		p.ok(p.expect(phoenix.EventJoin, topicA))
		start := time.Now()
		p.expect(phoenix.EventLeave, topicA)
		assert.Equal(t, 20*time.Second, since(start))
		last := f.expect(topicA, realtime.StateDialing, realtime.StateJoining, realtime.StateJoined, realtime.StateErrored)
		assert.ErrorIs(t, last.Err, realtime.ErrLiveTimeout)
		p.bring(topicA)
		f.expect(topicA, realtime.StateJoining, realtime.StateJoined, realtime.StateLive)
	})
}

func TestUnpublishedTableIsRetriedEachMinuteBesideALiveChannel(t *testing.T) {
	bothVersions(t, twoChannels, func(f *fixture) {
		p := f.srv.accept()
		a, b := p.expect(phoenix.EventJoin, topicA), p.expect(phoenix.EventJoin, topicB)
		f.expect(topicA, realtime.StateDialing)
		f.expect(topicB, realtime.StateDialing)
		f.expect(topicA, realtime.StateJoining)
		f.expect(topicB, realtime.StateJoining)
		p.ok(b)
		p.subscribed(b)
		f.expect(topicB, realtime.StateJoined, realtime.StateLive)
		for range 3 {
			p.ok(a)
			p.system(a, phoenix.ExtensionPostgresChanges, phoenix.StatusError, unpublished)
			err := f.expect(topicA, realtime.StateJoined, realtime.StateErrored).Err
			assert.True(t, realtime.NotPublished(err) && realtime.IsConfiguration(err), err)
			assert.Equal(t, a.JoinRef, p.expect(phoenix.EventLeave, topicA).JoinRef)
			left := time.Now()
			p.send(change(topicA, "none")) // of the channel that was left
			p.send(change(topicB, "one"))
			assert.JSONEq(t, `{"id":"one"}`, string(receive(t, f.changes).Record))
			a = p.expect(phoenix.EventJoin, topicA)
			assert.Equal(t, time.Minute, since(left))
			f.expect(topicA, realtime.StateJoining)
		}
		p.ok(a)
		p.subscribed(a)
		f.expect(topicA, realtime.StateJoined, realtime.StateLive)
	})
}

func TestServerEndsAChannel(t *testing.T) {
	for event, end := range map[string]func(phoenix.Ref, string) phoenix.Message{
		phoenix.EventClose: phoenix.Close, phoenix.EventError: phoenix.ChannelError,
	} {
		t.Run(event, func(t *testing.T) {
			bothVersions(t, nil, func(f *fixture) {
				p, join := f.live()
				p.system(join, "system", phoenix.StatusError, "Token has expired 0 seconds ago")
				p.send(end(join.JoinRef, topicA))
				start := time.Now()
				err := f.expect(topicA, realtime.StateErrored).Err
				var ended *realtime.ChannelError
				require.ErrorAs(t, err, &ended)
				assert.Equal(t, realtime.ChannelError{Topic: topicA, Event: event, Message: "Token has expired 0 seconds ago"}, *ended)
				p.send(end(phoenix.Ref{}, topicA)) // nothing is joined that it could end
				f.quiet()
				p.bring(topicA)
				assert.Equal(t, 250*time.Millisecond, since(start))
				f.expect(topicA, realtime.StateJoining, realtime.StateJoined, realtime.StateLive)

				p.send(end(phoenix.Ref{}, topicA)) // no ref at all means the current join
				require.ErrorAs(t, f.expect(topicA, realtime.StateErrored).Err, &ended)
				assert.Empty(t, ended.Message, "the reason was that of the join before")
				p.bring(topicA)
			})
		})
	}
}

func TestFailingSubscriptionOfTheServerBacksOff(t *testing.T) {
	bubble(t, nil, func(f *fixture) {
		p := f.srv.accept()
		f.expect(topicA, realtime.StateDialing, realtime.StateJoining)
		for _, wait := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second} {
			join := p.expect(phoenix.EventJoin, topicA)
			p.ok(join)
			p.system(join, phoenix.ExtensionPostgresChanges, phoenix.StatusError, "connection timed out")
			assert.True(t, realtime.Temporary(f.expect(topicA, realtime.StateJoined, realtime.StateErrored).Err))
			failed := time.Now()
			p.expect(phoenix.EventLeave, topicA)
			f.expect(topicA, realtime.StateJoining)
			assert.Equal(t, wait, since(failed))
		}
	})
}

func TestBackoffOfAChannelStartsAnewAfterAMinuteOfLife(t *testing.T) {
	bubble(t, nil, func(f *fixture) {
		p, join := f.live()
		for _, step := range []struct{ life, wait time.Duration }{
			{time.Second, 250 * time.Millisecond}, {59 * time.Second, 500 * time.Millisecond}, {time.Minute, 250 * time.Millisecond},
		} {
			time.Sleep(step.life)
			p.send(phoenix.Close(join.JoinRef, topicA))
			f.expect(topicA, realtime.StateErrored)
			start := time.Now()
			join = p.bring(topicA)
			assert.Equal(t, step.wait, since(start))
			f.expect(topicA, realtime.StateJoining, realtime.StateJoined, realtime.StateLive)
		}
	})
}

func TestForeignAndBrokenFramesAreIgnored(t *testing.T) {
	bothVersions(t, nil, func(f *fixture) {
		p, _ := f.live()
		p.write(false, []byte("not json"))
		p.write(true, []byte{9, 9})
		p.send(change("realtime:other", "x"))
		p.send(phoenix.Close(phoenix.StringRef("999"), topicA))
		p.send(phoenix.Message{Topic: topicA, Event: phoenix.EventPostgresChanges, Payload: []byte(`{"ids":[1]}`)})
		p.send(phoenix.Message{Topic: topicA, Event: phoenix.EventSystem, Payload: []byte(`"text"`)})
		p.send(phoenix.Message{Topic: topicA, Event: phoenix.EventPresenceDiff, Payload: []byte(`{}`)})
		p.send(change(topicA, "mine"))
		assert.JSONEq(t, `{"id":"mine"}`, string(receive(t, f.changes).Record))
		f.quiet()
		assert.Empty(t, f.changes)
	})
}

func TestChangesInTheOtherVersionsShapeAreAccepted(t *testing.T) {
	bothVersions(t, nil, func(f *fixture) {
		p, _ := f.live()
		for _, v := range []phoenix.Version{phoenix.V2, phoenix.V1} {
			p.sendAs(v, change(topicA, string(v)))
			c := receive(t, f.changes)
			assert.Equal(t, `{"id": "`+string(v)+`"}`, string(c.Record))
		}
	})
}

func TestBroadcastsOfTextAndBinaryFramesAreTheSame(t *testing.T) {
	bubble(t, func(o *realtime.Options) { o.Channels[0].Bindings = nil }, func(f *fixture) {
		p := f.srv.accept()
		p.ok(p.expect(phoenix.EventJoin, topicA))
		f.expect(topicA, realtime.StateDialing, realtime.StateJoining, realtime.StateJoined, realtime.StateLive)
		p.send(phoenix.Message{Topic: topicA, Event: phoenix.EventBroadcast, Payload: []byte(`{"event":"INSERT","payload":{"x": 1},"type":"broadcast","meta":{"id":"m"}}`)})
		p.send(phoenix.Message{Topic: topicA, Event: phoenix.EventBroadcast, Binary: &phoenix.Binary{
			Kind: phoenix.KindUserBroadcast, UserEvent: "INSERT", Meta: []byte(`{"id":"m"}`), JSON: true, Payload: []byte(`{"x": 1}`),
		}})
		want := broadcast{topicA, "INSERT", `{"id":"m"}`, `{"x": 1}`}
		assert.Equal(t, want, receive(t, f.broadcasts))
		assert.Equal(t, want, receive(t, f.broadcasts))
		p.send(phoenix.Message{Topic: topicA, Event: phoenix.EventBroadcast, Binary: &phoenix.Binary{Kind: phoenix.KindUserBroadcast, UserEvent: "raw", Payload: []byte{1}}})
		p.send(phoenix.Message{Topic: topicA, Event: phoenix.EventBroadcast, Payload: []byte(`{"event":"bare","payload":null,"type":"broadcast"}`)})
		assert.Equal(t, broadcast{topicA, "bare", "", "null"}, receive(t, f.broadcasts))
	})
}

func TestJoinErrorsAreSplitAndClassified(t *testing.T) {
	for _, tc := range []struct {
		reason, code, text string
		configuration      bool
	}{
		{"InvalidJWTToken: Token has expired 30 seconds ago", "InvalidJWTToken", "Token has expired 30 seconds ago", true},
		{"Unauthorized: You do not have permissions to read from this Channel topic: priv2", "Unauthorized", "You do not have permissions to read from this Channel topic: priv2", true},
		{"unmatched topic", "", "unmatched topic", true},
		{"ChannelRateLimitReached: Too many channels", "ChannelRateLimitReached", "Too many channels", false},
		{"Realtime was unable to connect: to the database", "", "Realtime was unable to connect: to the database", false},
		{"Unknown Error on Channel", "", "Unknown Error on Channel", false},
		{"", "", "", false},
	} {
		err := realtime.NewJoinError("realtime:x", tc.reason)
		assert.Equal(t, &realtime.JoinError{Topic: "realtime:x", Code: tc.code, Reason: tc.text}, err)
		assert.Equal(t, tc.configuration, realtime.IsConfiguration(err), tc.reason)
		assert.Equal(t, !tc.configuration, realtime.Temporary(err), tc.reason)
		assert.Equal(t, "join realtime:x: "+tc.reason, err.Error())
	}
}

func TestSubscribeErrorsAreClassified(t *testing.T) {
	for text, want := range map[string][2]bool{ // configuration, not published
		unpublished: {true, true},
		"Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: []": {true, false},
		"Error parsing `filter` params: [\"foo\", \"1\"]":                                                                         {true, false},
		"connection timed out": {false, false},
	} {
		err := error(&realtime.SubscribeError{Topic: topicA, Message: text})
		assert.Equal(t, want, [2]bool{realtime.IsConfiguration(err), realtime.NotPublished(err)}, text)
	}
	assert.False(t, realtime.NotPublished(errors.New("Please check Realtime is enabled")))
	assert.False(t, realtime.Temporary(nil))
	assert.False(t, realtime.IsConfiguration(nil))
}

func TestARefusedOptionalChannelIsLeftAloneUntilTheNextSocket(t *testing.T) {
	optional := func(o *realtime.Options) {
		twoChannels(o)
		o.Channels[1].Optional = true
	}
	for name, refuse := range map[string]func(p *peer, join phoenix.Message){
		"join": func(p *peer, join phoenix.Message) {
			p.refuse(join, "InitializingProjectConnection: Connecting to the project database")
		},
		"bindings": func(p *peer, join phoenix.Message) {
			p.ok(join)
			p.system(join, phoenix.ExtensionPostgresChanges, phoenix.StatusError, unpublished)
			p.expect(phoenix.EventLeave, topicB)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothVersions(t, optional, func(f *fixture) {
				p := f.srv.accept()
				p.bring(topicA)
				refuse(p, p.expect(phoenix.EventJoin, topicB))
				time.Sleep(time.Hour)
				assert.Empty(t, p.in, "no further join")
				p.close(1012)
				next := f.srv.accept()
				next.bring(topicA)
				next.bring(topicB)
			})
		})
	}
}

func TestAnOptionalChannelThatEndsIsJoinedAgain(t *testing.T) {
	bothVersions(t, func(o *realtime.Options) { o.Channels[0].Optional = true }, func(f *fixture) {
		p, join := f.live()
		p.send(phoenix.ChannelError(join.JoinRef, topicA))
		p.expect(phoenix.EventJoin, topicA)
	})
}
