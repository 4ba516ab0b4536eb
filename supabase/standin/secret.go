package standin

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
)

func itoa(n int) string { return strconv.Itoa(n) }

// storeSecret puts a secret in the vault and gives its id. Secrets stay when the transaction around them is undone, as an
// unreferenced row would.
func (db *DB) storeSecret(secret string) (vaultID string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	vaultID = db.newID()
	db.setSecretLocked(vaultID, secret)
	return vaultID
}

func (db *DB) setSecretLocked(vaultID, secret string) {
	db.secrets[vaultID] = secret
	db.vaultIDs[stripSpace(secret)] = vaultID
}

// sessionToken makes a token of the shape that generate_session_token gives: base64url of "uuid-epochseconds", 63 characters.
func (db *DB) sessionToken() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s-%d", db.newID(), db.now().Unix()))
}

func number(n int) json.Number { return json.Number(itoa(n)) }

func formatFloat(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
