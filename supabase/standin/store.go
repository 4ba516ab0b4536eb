package standin

import "context"

// Statements are the statements of one transaction. After an error the transaction can only be given up.
type Statements interface {
	// Insert adds a row and returns it complete.
	Insert(table string, row Row) (Row, error)
	// Update changes all rows that equal where and returns how many.
	Update(table string, where, set Row) (int, error)
	// Delete removes all rows that equal where and returns how many, cascades not counted.
	Delete(table string, where Row) (int, error)
	// Rows returns the rows that equal where.
	Rows(table string, where Row) ([]Row, error)
}

var _ Statements = (*Tx)(nil)

// The functions of the database that the Edge Functions call.
const (
	rpcValidate = "validate_temp_chat_session"
	rpcCreate   = "create_temp_chat_session"
	rpcEnd      = "end_temp_chat_session"
	rpcRate     = "check_temp_chat_rate_limit"
)

// Store is a database that the Edge Functions write to. Safe for concurrent use. A refusal of the database is an [*Error].
type Store interface {
	// Transact runs fn in a transaction: committed when fn returns nil, undone otherwise.
	Transact(ctx context.Context, fn func(Statements) error) error
	// Call runs a function of the schema public with named arguments and gives its rows; a single value is a row with one
	// column, named like the function.
	Call(ctx context.Context, function string, args Row) ([]Row, error)
	// Secret gives the text of a secret of the vault, "" when there is none.
	Secret(ctx context.Context, vaultID string) (string, error)
}

// memoryStore is the server's own database as a Store.
type memoryStore struct{ db *DB }

func (m memoryStore) Transact(_ context.Context, fn func(Statements) error) error {
	return m.db.Tx(func(tx *Tx) error { return fn(tx) })
}

func (m memoryStore) Secret(_ context.Context, vaultID string) (string, error) {
	m.db.mu.Lock()
	defer m.db.mu.Unlock()
	return m.db.secrets[vaultID], nil
}

func (m memoryStore) Call(_ context.Context, function string, args Row) ([]Row, error) {
	var row Row
	var err error
	switch function {
	case rpcValidate:
		row, err = m.db.validated(args.text("p_session_token"))
	case rpcCreate:
		row, err = m.db.createSession(args)
	case rpcEnd:
		row, err = m.db.endSession(args)
	case rpcRate:
		row, err = m.db.rate(args.text("p_session_token"))
	default:
		err = missingFunction(function, "")
	}
	if err != nil || row == nil {
		return nil, err
	}
	return []Row{row}, nil
}
