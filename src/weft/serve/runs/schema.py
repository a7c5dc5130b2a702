"""Tables and statements of the run log, in the SQL that SQLite and PostgreSQL share. `?` stands for a parameter.

Bodies are JSON (codec). Times are seconds since 1970.
"""

VERSION = 1

TABLES = (
    "CREATE TABLE IF NOT EXISTS weft_runs_schema (version INTEGER PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS weft_runs_owner (one INTEGER PRIMARY KEY, owner TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS weft_runs (
        id TEXT PRIMARY KEY, tenant TEXT NOT NULL, key TEXT, status TEXT NOT NULL, created_s DOUBLE PRECISION NOT NULL,
        ended_s DOUBLE PRECISION, body TEXT NOT NULL, ending TEXT NOT NULL,
        UNIQUE (tenant, key))""",
    "CREATE INDEX IF NOT EXISTS weft_runs_tenant ON weft_runs (tenant, created_s)",
    "CREATE INDEX IF NOT EXISTS weft_runs_status ON weft_runs (status)",
    """CREATE TABLE IF NOT EXISTS weft_run_events (
        run TEXT NOT NULL, number BIGINT NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (run, number))""",
    """CREATE TABLE IF NOT EXISTS weft_webhooks (
        id TEXT PRIMARY KEY, url TEXT NOT NULL, body TEXT NOT NULL, tries BIGINT NOT NULL,
        due_s DOUBLE PRECISION NOT NULL)""",
)

OWN = "INSERT INTO weft_runs_owner VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET owner = excluded.owner"
OWNED = "UPDATE weft_runs_owner SET one = one WHERE owner = ? RETURNING one"
"""Also locks the row: nobody takes the log over in the middle of a transaction."""

SUBMIT = "INSERT INTO weft_runs VALUES (?, ?, ?, ?, ?, NULL, ?, '')"
_COLUMNS = "SELECT status, ended_s, body, ending FROM weft_runs"
OF_KEY = f"{_COLUMNS} WHERE tenant = ? AND key = ?"
FIND = f"{_COLUMNS} WHERE tenant = ? AND id = ?"
LIST = f"""{_COLUMNS} WHERE tenant = ? AND (status = ? OR ? = '')
    AND (created_s, id) < (?, ?) ORDER BY created_s DESC, id DESC LIMIT ?"""
UNFINISHED = f"{_COLUMNS} WHERE ended_s IS NULL ORDER BY created_s, id"
SET_STATUS = "UPDATE weft_runs SET status = ? WHERE id = ?"
END = "UPDATE weft_runs SET status = ?, ended_s = ?, ending = ? WHERE id = ?"
FORGET = ("DELETE FROM weft_run_events WHERE run = ?", "DELETE FROM weft_runs WHERE id = ?")
EXPIRED = "SELECT id FROM weft_runs WHERE ended_s < ? LIMIT ?"

APPEND = "INSERT INTO weft_run_events VALUES (?, ?, ?)"
EVENTS = "SELECT body FROM weft_run_events WHERE run = ? AND number > ? ORDER BY number LIMIT ?"

CALL = "INSERT INTO weft_webhooks VALUES (?, ?, ?, 0, ?) ON CONFLICT (id) DO NOTHING"
CALLS = "SELECT id, url, body, tries, due_s FROM weft_webhooks ORDER BY due_s LIMIT ?"
PUT_OFF = "UPDATE weft_webhooks SET tries = tries + 1, due_s = ? WHERE id = ?"
CALLED = "DELETE FROM weft_webhooks WHERE id = ?"
