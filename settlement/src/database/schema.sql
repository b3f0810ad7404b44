-- Version 1. Times are UTC nanoseconds, spans nanoseconds, money micro-dollars.
CREATE TABLE cursor (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    log_id   BLOB    NOT NULL CHECK (length(log_id) = 16),
    event    INTEGER NOT NULL,  -- the last event applied
    command  INTEGER NOT NULL,  -- the command that caused it, and its time: to know it again
    time     INTEGER NOT NULL,
    position INTEGER NOT NULL   -- where its frame was: a hint
) STRICT;

CREATE TABLE session (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    version       INTEGER NOT NULL DEFAULT 0,  -- as negotiated by this process
    next_sequence INTEGER NOT NULL DEFAULT 1,
    log_version   INTEGER NOT NULL DEFAULT 0,  -- as the event log says
    log_report    INTEGER NOT NULL DEFAULT 1   -- the next report, as the event log says
) STRICT;
INSERT INTO session (one) VALUES (1);

CREATE TABLE obligations (
    id           INTEGER PRIMARY KEY,
    instrument   INTEGER NOT NULL,
    buyer        INTEGER NOT NULL,
    seller       INTEGER NOT NULL,
    lots         INTEGER NOT NULL,
    price        INTEGER NOT NULL,
    window_start INTEGER NOT NULL,
    window_end   INTEGER NOT NULL,
    access_key   BLOB    CHECK (length(access_key) = 32),
    state        TEXT    NOT NULL,
    provider     TEXT,
    address      TEXT,
    host_key     BLOB    CHECK (length(host_key) = 32),
    up_since     INTEGER NOT NULL DEFAULT 0,
    first_up     INTEGER NOT NULL DEFAULT 0,
    announced    INTEGER NOT NULL DEFAULT 0 CHECK (announced IN (0, 1)),
    failures     INTEGER NOT NULL DEFAULT 0,
    retry_at     INTEGER NOT NULL DEFAULT 0,
    look_at      INTEGER NOT NULL DEFAULT 0,
    measure_at   INTEGER NOT NULL DEFAULT 0,
    verified     INTEGER NOT NULL DEFAULT 0,
    evidence     BLOB    NOT NULL CHECK (length(evidence) = 24),
    ending       TEXT,
    error        TEXT,
    due_at       INTEGER NOT NULL DEFAULT 0,
    paid         INTEGER,
    refunded     INTEGER,
    compensated  INTEGER
) STRICT;
CREATE INDEX obligations_due ON obligations (due_at);
CREATE INDEX obligations_keyless ON obligations (buyer) WHERE access_key IS NULL;

-- What is done outside: recorded before, completed after.
CREATE TABLE actions (
    key         TEXT    PRIMARY KEY,  -- the idempotency key: provision/17, release/17
    obligation  INTEGER NOT NULL REFERENCES obligations (id),
    kind        TEXT    NOT NULL CHECK (kind IN ('provision', 'release')),
    provider    TEXT    NOT NULL,
    spec        TEXT,                 -- what is asked of the provider, the same at every attempt
    state       TEXT    NOT NULL CHECK (state IN ('intent', 'done')),
    attempts    INTEGER NOT NULL DEFAULT 0,
    error       TEXT,
    intended_at INTEGER NOT NULL,
    done_at     INTEGER
) STRICT;

-- What the exchange is told: recorded before it is sent.
CREATE TABLE commands (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,  -- also the request's name
    obligation INTEGER NOT NULL REFERENCES obligations (id),
    kind       TEXT    NOT NULL CHECK (kind IN ('started', 'confirm', 'fail')),
    state      TEXT    NOT NULL CHECK (state IN ('queued', 'sent', 'applied', 'refused')),
    version    INTEGER NOT NULL DEFAULT 0,
    sequence   INTEGER NOT NULL DEFAULT 0,
    sends      INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER NOT NULL DEFAULT 0,
    reason     TEXT
) STRICT;
CREATE UNIQUE INDEX commands_start ON commands (obligation) WHERE kind = 'started';
CREATE UNIQUE INDEX commands_settle ON commands (obligation) WHERE kind <> 'started';
CREATE INDEX commands_open ON commands (id) WHERE state IN ('queued', 'sent');

CREATE TABLE history (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    obligation INTEGER NOT NULL REFERENCES obligations (id),
    at         INTEGER NOT NULL,
    from_state TEXT,
    to_state   TEXT    NOT NULL,
    why        TEXT    NOT NULL
) STRICT;
CREATE INDEX history_of ON history (obligation, id);
