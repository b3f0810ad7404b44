-- Version 2: how much of a window passed before its buyer had a key, a span.
ALTER TABLE obligations ADD COLUMN keyless INTEGER NOT NULL DEFAULT 0;
