-- Who asked syncd for what, when, from where, and what came of it.

CREATE TABLE syncd.audit (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    who         text NOT NULL,
    origin      text NOT NULL,
    what        text NOT NULL,
    subject     text NOT NULL DEFAULT '',
    request     bigint,
    ok          boolean,
    answer      text NOT NULL DEFAULT ''
);
CREATE INDEX audit_at ON syncd.audit (at);
CREATE INDEX audit_unanswered ON syncd.audit (request) WHERE request IS NOT NULL AND ok IS NULL;
COMMENT ON TABLE syncd.audit IS 'What was asked of syncd by a command or through the side door, refused attempts included. Kept for 400 days.';
COMMENT ON COLUMN syncd.audit.who IS 'user@host for a command; for the side door, which token it was.';
COMMENT ON COLUMN syncd.audit.origin IS '`command`, or the address from which the side door was asked.';
COMMENT ON COLUMN syncd.audit.request IS 'Its row in syncd.request, which stays for 30 days.';
COMMENT ON COLUMN syncd.audit.ok IS 'Null as long as nobody has answered.';
