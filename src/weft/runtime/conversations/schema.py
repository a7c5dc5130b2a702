"""Tables and statements in the SQL that SQLite and PostgreSQL share. `?` stands for a parameter.

Contents are JSON strings in ASCII, so any text of any model fits either. Times are seconds since 1970.
"""

VERSION = 1

TABLES = (
    "CREATE TABLE IF NOT EXISTS weft_schema (version INTEGER PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS weft_tenants (tenant TEXT PRIMARY KEY, used_bytes BIGINT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS weft_messages (
        tenant TEXT NOT NULL, conversation TEXT NOT NULL, number BIGINT NOT NULL, request TEXT NOT NULL,
        role TEXT NOT NULL, content TEXT NOT NULL, bytes BIGINT NOT NULL, at_s DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (tenant, conversation, number))""",
    "CREATE INDEX IF NOT EXISTS weft_requests ON weft_messages (tenant, conversation, request)",
    """CREATE TABLE IF NOT EXISTS weft_conversations (
        tenant TEXT NOT NULL, conversation TEXT NOT NULL, messages BIGINT NOT NULL, bytes BIGINT NOT NULL,
        at_s DOUBLE PRECISION NOT NULL, expires_s DOUBLE PRECISION,
        PRIMARY KEY (tenant, conversation))""",
    "CREATE INDEX IF NOT EXISTS weft_conversations_end ON weft_conversations (expires_s)",
    """CREATE TABLE IF NOT EXISTS weft_episodes (
        tenant TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, content TEXT NOT NULL, bytes BIGINT NOT NULL,
        at_s DOUBLE PRECISION NOT NULL, expires_s DOUBLE PRECISION,
        PRIMARY KEY (tenant, id))""",
    "CREATE INDEX IF NOT EXISTS weft_episodes_kind ON weft_episodes (tenant, kind, at_s)",
    "CREATE INDEX IF NOT EXISTS weft_episodes_end ON weft_episodes (expires_s)",
)

TENANT = """INSERT INTO weft_tenants VALUES (?, 0)
    ON CONFLICT (tenant) DO UPDATE SET used_bytes = weft_tenants.used_bytes RETURNING used_bytes"""
"""Also locks its row, so that nobody else passes the quota meanwhile."""
USE = "UPDATE weft_tenants SET used_bytes = used_bytes + ? WHERE tenant = ?"
USED = "SELECT used_bytes FROM weft_tenants WHERE tenant = ?"

OF_REQUEST = "SELECT 1 FROM weft_messages WHERE tenant = ? AND conversation = ? AND request = ? LIMIT 1"
CONVERSATION = "SELECT messages FROM weft_conversations WHERE tenant = ? AND conversation = ?"
TOUCH = """INSERT INTO weft_conversations VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (tenant, conversation) DO UPDATE SET messages = weft_conversations.messages + excluded.messages,
    bytes = weft_conversations.bytes + excluded.bytes, at_s = excluded.at_s, expires_s = excluded.expires_s"""
APPEND = "INSERT INTO weft_messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
HISTORY = """SELECT role, content FROM weft_messages WHERE tenant = ? AND conversation = ?
    AND number >= ? ORDER BY number"""
CONVERSATIONS = """SELECT conversation, messages, bytes, at_s, expires_s FROM weft_conversations
    WHERE tenant = ? ORDER BY conversation"""
CONVERSATION_BYTES = "SELECT bytes FROM weft_conversations WHERE tenant = ? AND conversation = ?"
DROP_MESSAGES = "DELETE FROM weft_messages WHERE tenant = ? AND conversation = ?"
DROP_CONVERSATION = "DELETE FROM weft_conversations WHERE tenant = ? AND conversation = ?"
EXPIRED_CONVERSATIONS = """SELECT tenant, conversation FROM weft_conversations
    WHERE expires_s <= ? ORDER BY tenant, conversation LIMIT ?"""

EPISODE_BYTES = "SELECT bytes FROM weft_episodes WHERE tenant = ? AND id = ?"
REMEMBER = "INSERT INTO weft_episodes VALUES (?, ?, ?, ?, ?, ?, ?)"
DROP_EPISODE = "DELETE FROM weft_episodes WHERE tenant = ? AND id = ?"
RECALL = """SELECT id, kind, content, at_s, expires_s FROM weft_episodes
    WHERE tenant = ? AND (kind = ? OR ? = '') AND (expires_s IS NULL OR expires_s > ?)
    ORDER BY at_s DESC, id DESC LIMIT ?"""
EPISODES = "SELECT id, kind, content, at_s, expires_s FROM weft_episodes WHERE tenant = ? ORDER BY at_s, id"
EXPIRED_EPISODES = "SELECT tenant, id FROM weft_episodes WHERE expires_s <= ? ORDER BY tenant, id LIMIT ?"

FORGET = tuple(
    f"DELETE FROM weft_{table} WHERE tenant = ?" for table in ("messages", "conversations", "episodes", "tenants")
)
