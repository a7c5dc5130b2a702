"""What agents remember, durably and by tenant: conversations and episodes, in SQLite or PostgreSQL.

store      what can be asked: append, history, remember, recall, expire, export, forget
schema     its tables and statements, the same for both
database   what a database must offer; sqlite, postgres: the two that do
opening    by path or URL
"""
